package v1_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestReadmeApp: the README's first manifest is valid and has the values that the text describes.
func TestReadmeApp(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Your own app\n")
	require.True(t, found)
	_, block, found := strings.Cut(section, "\n```yaml\n")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "\n```\n")
	app, err := v1.ParseApp([]byte(block))
	require.NoError(t, err)
	require.Equal(t, "shop", app.Metadata.Name)
	require.EqualValues(t, 3, *app.Spec.Replicas)
	require.Equal(t, "localhost:5000/shop:1.4", app.Spec.Container.Image)
	require.Equal(t, []v1.Port{{Name: "http", Port: 3000, HostPort: v1.HostPortAuto}}, app.Spec.Ports)
	require.Equal(t, "http", app.Spec.Announce.Port)
	require.Equal(t, "/healthz", app.Spec.HealthCheck.HTTP.Path)
	require.Equal(t, []string{"shop.example.com"}, app.Spec.Route.Hosts)
}
