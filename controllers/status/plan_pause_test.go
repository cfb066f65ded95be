package status

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestPaused: what waits says for what; a roll-out that is complete says nothing of a pause.
func TestPaused(t *testing.T) {
	in := running(t, 2)
	in.Paused = true
	require.Equal(t, ReasonUpdated, v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing).Reason)
	in.setUnit("web@2.service", func(u *v1.Unit) { u.Spec.Hash = "older" })
	progressing := v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing)
	require.Equal(t, ReasonPaused, progressing.Reason)
	require.Equal(t, "1 of 2 instances are of revision 3; paused: fleetctl rollout resume app/web", progressing.Message)
	in.Rejected = &v1.Revision{Number: 4, Rejected: &v1.Rejection{Message: "because"}}
	require.Equal(t, ReasonRollingOut, v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing).Reason, "the return to a former revision goes on")
}

// TestTrial: what is said while a canary is tried, with its share of the requests.
func TestTrial(t *testing.T) {
	for canary, want := range map[string]string{
		"pause: true":             "revision 4 is tried by 1 of its instances, which all others follow after fleetctl rollout resume app/web",
		"weight: 5%, pause: true": "revision 4 is tried by 1 of its instances, with 5% of the requests, which all others follow after fleetctl rollout resume app/web",
		"instances: 2": "revision 4 is tried by 2 of its instances, which all others follow when it has answered 500 requests no worse than revision 3, " +
			"or after 10m0s",
	} {
		in := running(t, 2)
		manifest := fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/web, new]}\n"+
			"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  update: {canary: {%s}}\n", canary)
		app, err := v1.ParseApp([]byte(manifest))
		require.NoError(t, err)
		in.Manifest, in.ManifestRevision = []byte(manifest), 9
		in.Trial = &v1.Revision{Number: 4, ManifestRevision: 9, Spec: app.Spec, Before: 3}
		progressing := v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing)
		require.Equal(t, v1.ReasonCanary, progressing.Reason)
		require.Equal(t, want, progressing.Message)
	}
}
