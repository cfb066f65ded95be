package logging

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		Text: "level=INFO msg=\"Starting unit\" unit=a.service reason=Changed\n",
		JSON: `"level":"INFO","msg":"Starting unit","unit":"a.service","reason":"Changed"}` + "\n",
	} {
		var out bytes.Buffer
		log, err := New(&out, format, nil)
		require.NoError(t, err)
		log.Info("Starting unit", "unit", "a.service", "reason", "Changed")
		require.Contains(t, out.String(), want)
	}
	_, err := New(&bytes.Buffer{}, "xml", nil)
	require.ErrorContains(t, err, `"xml"`)
}

func TestVerbosityChangesWhileInUse(t *testing.T) {
	var out bytes.Buffer
	var level Level
	log, err := New(&out, Text, &level)
	require.NoError(t, err)
	log.V(1).Info("quiet")
	require.Empty(t, out.String())
	level.Set(1)
	log.V(1).Info("loud")
	log.V(2).Info("too loud")
	log.Error(errors.New("broken"), "always")
	require.Contains(t, out.String(), "level=V(1) msg=loud")
	require.NotContains(t, out.String(), "too loud")
	require.Contains(t, out.String(), "err=broken")
}
