package template

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// The real machine answers like the fixed one of the other tests.
func TestRealHost(t *testing.T) {
	t.Setenv("FLEET_TEMPLATE_TEST", "set")
	tmpl, err := New("t", `{{lookupIfaceIPV4 "lo"}} {{lookupIPV4 "127.0.0.1"}} {{getenv "FLEET_TEMPLATE_TEST"}} {{fileExists "testdata"}} {{lookupSRV "" "" "127.0.0.1"}}{{if hostname}}!{{end}}{{datetime.Year | lt 2000}}`)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, tmpl.Execute(&b, NewTree(nil)))
	require.Equal(t, "127.0.0.1 [127.0.0.1] set true []!true", b.String())
}
