package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"reflect"

	"sigs.k8s.io/yaml"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// printAppYAML writes the stored manifest, with comments and order preserved, followed by the status. An invalid
// manifest, or one that the status cannot be appended to, is written as the API's object.
func (a *app) printAppYAML(ctx context.Context, o wire.App) error {
	if o.Manifest != "" {
		return a.printYAML(o)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	stored, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: client.Path("apps", o.Metadata.Name), Accept: wire.YAML})
	if err != nil {
		return err
	}
	text, err := withStatus(stored, o.Status)
	if err != nil {
		return a.printYAML(o)
	}
	_, err = a.Out.Write(text)
	return err
}

var errNoText = errors.New("the manifest cannot be extended as text")

// withStatus appends a status to the text of a manifest. It returns an error unless the result parses as exactly the
// manifest and the status.
func withStatus(stored []byte, status any) ([]byte, error) {
	var before map[string]any
	if err := yaml.Unmarshal(stored, &before); err != nil {
		return nil, err
	}
	if _, has := before["status"]; has {
		return nil, errNoText
	}
	added, err := yaml.Marshal(map[string]any{"status": status})
	if err != nil {
		return nil, err
	}
	text := bytes.TrimRight(stored, "\n")
	text = append(append(bytes.Clone(text), '\n'), added...)
	var after, alone map[string]any
	if err := errors.Join(yaml.Unmarshal(text, &after), yaml.Unmarshal(added, &alone)); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(after["status"], alone["status"]) {
		return nil, errNoText
	}
	delete(after, "status")
	if !reflect.DeepEqual(before, after) {
		return nil, errNoText
	}
	return text, nil
}
