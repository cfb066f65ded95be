package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSourceFileContent: the very bytes arrive, also those that JSON would change.
func TestSourceFileContent(t *testing.T) {
	for _, content := range []string{"", "kind: App\n", "caf\u00e9", "caf\xe9", "\xff\xfea\x00", "\x00"} {
		var sent, got SourceFile
		sent.SetContent([]byte(content))
		data, err := json.Marshal(sent)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &got))
		require.Equal(t, content, string(got.Content()))
	}
}
