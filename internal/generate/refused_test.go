package generate

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestOptionsThatCannotBeWritten: no file is written, and the error names the first refused option.
func TestOptionsThatCannotBeWritten(t *testing.T) {
	spec := func(description, user string) *v1.AppSpec {
		app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {exec: {command: [/bin/web]}}\n"))
		require.NoError(t, err)
		app.Spec.Unit = map[string]map[string]v1.StringList{"Unit": {"Description": {description}}, "Service": {"User": {user}}}
		return &app.Spec
	}
	_, err := Units("web", spec("the web", "web"))
	require.NoError(t, err)
	for _, user := range []string{"web", "we\x00b"} {
		files, err := Units("web", spec("the\x00web", user))
		require.Zero(t, files)
		require.EqualError(t, err, `generating the unit files of app web: section [Unit], option "Description", value "the\x00web": it contains a carriage return or a NUL byte`)
	}
}
