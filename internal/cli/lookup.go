package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ensured is what ensure did.
type ensured int

const (
	existed  ensured = iota // nothing: the cluster's unit is used
	created                 // the unit was stored
	replaced                // its file was replaced
	declined                // its file was not replaced: it runs, and the command is not for that
)

// ensure makes sure that the unit exists in the cluster and returns its name. The lookup order is that of the original:
// the unit in the cluster, its file, its template in the cluster, its template's file. If the options of the cluster's
// unit differ from those that it would be created with today, it is used with a warning or, with replace, replaced, unless
// its state is beyond upTo.
func (a *app) ensure(ctx context.Context, typed string, replace bool, upTo v1.DesiredState) (string, ensured, error) {
	dir, base := filepath.Split(typed)
	name := unitName(base)
	n, err := unitfile.ParseName(name)
	if err != nil {
		return "", existed, usage("%v", err)
	}
	stored, exists, err := a.storedFile(ctx, name)
	if err != nil {
		return "", existed, err
	}
	made, err := a.origin(ctx, dir, n, replace || exists)
	switch {
	case err != nil:
		return "", existed, err
	case !exists && made == nil:
		return "", existed, a.unknownUnit(typed, n)
	case !exists:
		return name, created, a.create(ctx, n, *made, v1.Inactive)
	case made == nil:
	case unitfile.SameOptions(made.text, stored):
		if replace {
			a.say("Found same Unit(%s) in Registry, nothing to do", name)
		}
	case replace:
		how, err := a.replace(ctx, n, *made, upTo)
		return name, how, err
	case made.local:
		a.note("fleetctl: warning: %s differs from the unit of that name in the cluster, which is used: --replace stores the file", made.name)
	default:
		a.note("fleetctl: warning: unit %s differs from its template %s and is used as it is: --replace creates it again", name, made.name)
	}
	return name, existed, nil
}

// origin is what a unit is created from.
type origin struct {
	name, text string
	local      bool // a file with the unit's own name
}

// origin finds what a unit is created from; nil if there is nothing. With filesFirst, files take precedence, because
// the cluster's unit is to be compared with them; otherwise the cluster's template precedes a template's file.
func (a *app) origin(ctx context.Context, dir string, n unitfile.Name, filesFirst bool) (*origin, error) {
	if text, ok := readIfExists(dir + n.Full); ok {
		return &origin{dir + n.Full, text, true}, nil
	}
	template := n.TemplateName()
	if template == "" || n.Template {
		return nil, nil
	}
	here, isHere := readIfExists(dir + template)
	if isHere && filesFirst {
		return &origin{dir + template, here, false}, nil
	}
	stored, exists, err := a.storedFile(ctx, template)
	switch {
	case err != nil:
		return nil, err
	case !exists && isHere:
		return &origin{dir + template, here, false}, nil
	case !exists:
		return nil, nil
	case isHere && !unitfile.SameOptions(here, stored):
		a.note("fleetctl: warning: %s differs from the template of that name in the cluster, which is used: --replace uses the file", dir+template)
	}
	return &origin{template, stored, false}, nil
}

// storedFile returns the unit's text in the cluster.
func (a *app) storedFile(ctx context.Context, name string) (text string, exists bool, err error) {
	c, err := a.client()
	if err != nil {
		return "", false, err
	}
	stored, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: client.Path("units", name, "file")})
	if client.NotFound(err) {
		return "", false, nil
	}
	return string(stored), err == nil, err
}

// unknownUnit returns an error that says where the unit was looked for.
func (a *app) unknownUnit(typed string, n unitfile.Name) error {
	base := filepath.Base(typed)
	if _, err := os.Stat(typed); err == nil && base != n.Full { // the file exists under a name that is not a unit's
		_, why := unitfile.ParseName(base)
		return usage("file %s does not have the name of a unit: %v", typed, why)
	}
	if template := n.TemplateName(); template != "" && !n.Template {
		return wire.Fail(wire.ReasonNotFound, "unit %s does not exist: neither it nor its template %s is in the cluster or in the current directory", n, template)
	}
	return wire.Fail(wire.ReasonNotFound, "unit %s does not exist: it is neither in the cluster nor in the current directory", n)
}

// replace stores another file for a unit in its current state: a running unit is restarted with it. One whose state is beyond
// upTo is left as it is, with a warning.
func (a *app) replace(ctx context.Context, n unitfile.Name, from origin, upTo v1.DesiredState) (ensured, error) {
	c, err := a.client()
	if err != nil {
		return existed, err
	}
	unit, err := client.Get[v1.Unit](ctx, c, client.Path("units", n.Full), nil)
	if err != nil {
		return existed, err
	}
	state := unit.Spec.DesiredState
	if order := []v1.DesiredState{v1.Inactive, v1.Loaded, v1.Launched}; unit.Metadata.Owner == "" && slices.Index(order, state) > slices.Index(order, upTo) {
		a.note("Warning: can not replace Unit(%s) in state '%s', use the appropriate command: start --replace stores the file and restarts the unit", n, state)
		return declined, nil
	}
	return replaced, a.create(ctx, n, from, state)
}

// unitOf returns the full name of a unit that is typed by its name or as the path of its file.
func unitOf(typed string) string { return unitName(filepath.Base(typed)) }

// isTemplate reports whether what is typed names a template.
func isTemplate(typed string) bool {
	n, err := unitfile.ParseName(unitOf(typed))
	return err == nil && n.Template
}

// isInstance reports whether a unit's name is that of an instance of the template.
func isInstance(name, template string) bool {
	n, err := unitfile.ParseName(name)
	return err == nil && !n.Template && n.TemplateName() == template
}

// isUnit reports whether what is typed is a unit's full name.
func isUnit(typed string) bool { return unitfile.HasType(typed) }

// unitName returns the full name of a unit: .service may be omitted. A name with another type is left as it is, even if
// it is not valid today, so that units stored by an earlier version can be deleted.
func unitName(typed string) string {
	if _, err := unitfile.ParseName(typed); err == nil || unitfile.HasType(typed) {
		return typed
	}
	if name := typed + ".service"; !strings.HasSuffix(typed, ".") {
		if _, err := unitfile.ParseName(name); err == nil {
			return name
		}
	}
	return typed
}

// inFile expresses a fault in terms of the submitted file, if the server reports that.
func inFile(c wire.Cause) wire.Cause {
	if c.InContents != nil {
		return *c.InContents
	}
	return c
}

func readIfExists(path string) (string, bool) {
	data, err := os.ReadFile(path)
	return string(data), err == nil
}

// create submits a unit.
func (a *app) create(ctx context.Context, n unitfile.Name, from origin, state v1.DesiredState) error {
	source, text := from.name, from.text
	if text == "" {
		return fmt.Errorf("%s: the file is empty", source)
	}
	unit := v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: n.Full},
		Spec: v1.UnitSpec{Contents: text, DesiredState: state},
	}
	body, err := json.Marshal(unit)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	answer, err := c.Write(ctx, client.Request{Method: http.MethodPut, Path: client.Path("units", n.Full), Body: body, ContentType: wire.JSON})
	if status := statusOf(err); status != nil && status.Reason == wire.ReasonInvalid && len(status.Causes) > 0 {
		for _, c := range status.Causes {
			a.tellCause(source, 0, inFile(c))
		}
		return errReported{exitCode(err)}
	}
	if err == nil {
		for i, c := range answer.Warnings {
			answer.Warnings[i] = inFile(c)
		}
		a.tellWarnings(source, answer.Warnings)
	}
	return err
}
