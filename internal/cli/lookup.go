package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ensure makes sure that the cluster knows the unit and returns its name. As in the original it is looked for in
// the cluster, as a file, as a template in the cluster, as a template's file. A file that differs from what the
// cluster has only warns, unless it is to replace that.
func (a *app) ensure(ctx context.Context, typed string, replace bool) (string, error) {
	dir, base := filepath.Split(typed)
	name := unitName(base)
	path := dir + name
	n, err := unitfile.ParseName(name)
	if err != nil {
		return "", usage("%v", err)
	}
	c, err := a.client()
	if err != nil {
		return "", err
	}
	local, isLocal := readIfExists(path)
	stored, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: client.Path("units", name, "file")})
	switch {
	case err != nil && !client.NotFound(err):
		return "", err
	case err == nil && (!isLocal || local == string(stored)):
		return name, nil
	case err == nil && !replace:
		a.note("fleetctl: warning: %s differs from the unit of that name in the cluster, which is used: --replace puts the file in its place", path)
		return name, nil
	case isLocal:
		return name, a.create(ctx, n, path, local)
	}
	template := n.TemplateName()
	if template == "" || n.Template {
		return "", wire.Fail(wire.ReasonNotFound, "unit %s does not exist, neither in the cluster nor as a file here", name)
	}
	stored, err = c.Do(ctx, client.Request{Method: http.MethodGet, Path: client.Path("units", template, "file")})
	if err == nil {
		return name, a.create(ctx, n, template, string(stored))
	}
	if !client.NotFound(err) {
		return "", err
	}
	path = dir + template
	if local, isLocal = readIfExists(path); isLocal {
		return name, a.create(ctx, n, path, local)
	}
	return "", wire.Fail(wire.ReasonNotFound, "unit %s does not exist, neither it nor its template %s, neither in the cluster nor as a file here", name, template)
}

func readIfExists(path string) (string, bool) {
	data, err := os.ReadFile(path)
	return string(data), err == nil
}

// create submits a unit, inactive. source is where its text is from, for messages.
func (a *app) create(ctx context.Context, n unitfile.Name, source, text string) error {
	faults, warnings := wire.CheckUnitFile(n, text)
	for _, c := range warnings {
		a.tellCause(source, 0, wire.Cause{Line: c.Line, Field: c.Field, Message: "warning: " + c.Message})
	}
	for _, c := range faults {
		a.tellCause(source, 0, c)
	}
	if len(faults) > 0 {
		return errReported{exitError}
	}
	if text == "" {
		return fmt.Errorf("%s: the file is empty", source)
	}
	unit := v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: n.Full},
		Spec: v1.UnitSpec{Contents: text, DesiredState: v1.Inactive},
	}
	body, err := json.Marshal(unit)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	_, err = c.Write(ctx, client.Request{Method: http.MethodPut, Path: client.Path("units", n.Full), Body: body, ContentType: wire.JSON})
	return err
}
