package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestOlderFleetd runs fleetctl against a fleetd that lacks the fields which fleetctl once derived itself.
func TestOlderFleetd(t *testing.T) {
	testscript.Run(t, scripts(t, "testdata/older", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = strings.Replace(r.URL.Path, "/applies", "/unknown", 1)
			next.ServeHTTP(&older{w}, r)
		})
	}))
}

// older removes the fields that an older fleetd does not know from each line of JSON.
type older struct{ http.ResponseWriter }

func (o *older) Write(line []byte) (int, error) {
	var value any
	if json.Unmarshal(line, &value) != nil { // not JSON, such as a file's text
		return o.ResponseWriter.Write(line)
	}
	forget(value)
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(value); err != nil {
		return 0, err
	}
	_, err := o.ResponseWriter.Write(text.Bytes())
	return len(line), err
}

func (o *older) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func forget(value any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			forget(item)
		}
	case map[string]any:
		if _, has := v["phase"]; has {
			delete(v, "reason")
		}
		if v["kind"] == "Machine" {
			delete(v, "status")
		}
		for _, name := range []string{"phase", "outcome", "stoppedByHand", "waitsForOthers", "changing", "file", "summary", "inContents"} {
			delete(v, name)
		}
		for _, item := range v {
			forget(item)
		}
	}
}
