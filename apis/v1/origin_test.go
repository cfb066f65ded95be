package v1

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOrigin: each constraint of an App's units has the field that it comes from, and the line.
func TestOrigin(t *testing.T) {
	manifest := []byte(`apiVersion: fleet/v1
kind: App
metadata: {name: shop}
spec:
  replicas: 2
  container: {image: shop}
  # a comment
  ports:
  - {name: admin, port: 9000, hostPort: auto}
  - name: http
    port: 80
    hostPort: 8000
  announce: {port: http}
  resources:
    requests:
      cpu: 500m
      memory: 1G
  placement:
    conflicts: ["shop@*.service", "db@%i.service"]
    machineOf:
    - cache@%i.service
    machineMetadata:
      zone: [a, b]
`)
	app, err := ParseApp(manifest)
	require.NoError(t, err)
	for _, tc := range []struct{ unit, option, value, want string }{
		{"shop@1.service", "Ports", "8000", "spec.ports[1].hostPort 12"},
		{"shop@1.service", "AutoPorts", "admin", "spec.ports[0].hostPort 9"},
		{"shop@1.service", "CPU", "0.5", "spec.resources.requests.cpu 16"},
		{"shop@1.service", "Memory", "1G", "spec.resources.requests.memory 17"},
		{"shop@1.service", "Conflicts", "shop@*.service", "spec.placement.conflicts[0] 19"},
		{"shop@2.service", "Conflicts", "db@2.service", "spec.placement.conflicts[1] 19"},
		{"shop@2.service", "MachineOf", "cache@2.service", "spec.placement.machineOf[0] 21"},
		{"shop@2.service", "MachineMetadata", "zone=a or b", "spec.placement.machineMetadata[zone] 23"},
		{"shop-discovery@2.service", "MachineOf", "shop@2.service", "spec.announce 13"},
	} {
		field, line := app.Origin(manifest, Constraint{Unit: tc.unit, Option: tc.option, Value: tc.value})
		require.Equal(t, tc.want, fmt.Sprint(field, " ", line), "%+v", tc)
	}
}
