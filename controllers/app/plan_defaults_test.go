package app

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// fullSpec has every struct that a spec can have, empty, so that Default fills them all in. Reflection includes fields added
// later.
func fullSpec() v1.AppSpec {
	var spec v1.AppSpec
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				fill(v.Index(0))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		}
	}
	fill(reflect.ValueOf(&spec).Elem())
	return spec
}

// leaves returns the paths of all values of a JSON object.
func leaves(value any, path string, into map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			leaves(field, path+"/"+name, into)
		}
	case []any:
		for i, element := range v {
			leaves(element, fmt.Sprintf("%s/%d", path, i), into)
		}
	default:
		into[path] = true
	}
}

// without removes the value at a path.
func without(t *testing.T, value any, path string) {
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range names[:len(names)-1] {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			var i int
			_, err := fmt.Sscan(name, &i)
			require.NoError(t, err)
			value = v[i]
		}
	}
	delete(value.(map[string]any), names[len(names)-1])
}

func asJSON(t *testing.T, value any) (object map[string]any) {
	data, err := json.Marshal(value)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &object))
	return object
}

// TestASpecOfAnOlderFleetdIsTheSame: a fleetd that did not know a field stored a spec without its default. That is not a
// change: an app with that spec gets no new revision, and keeps its unit files when scaled, even if they would be generated
// differently today.
func TestASpecOfAnOlderFleetdIsTheSame(t *testing.T) {
	full := fullSpec()
	full.Ports[0].Port = 80 // the default of the port's name and host port
	before := map[string]bool{}
	leaves(asJSON(t, full), "", before)
	app := v1.App{Metadata: v1.ObjectMeta{Name: "web"}, Spec: full}
	app.Default()
	after := map[string]bool{}
	leaves(asJSON(t, app.Spec), "", after)
	var defaulted []string
	for path := range after {
		if !before[path] {
			defaulted = append(defaulted, path)
		}
	}
	require.GreaterOrEqual(t, len(defaulted), 15, "%v", defaulted)
	require.Contains(t, defaulted, "/update/minReady")
	require.Contains(t, defaulted, "/ports/0/hostPort")

	// A manifest that has everything a valid one can have, except those fields.
	const text = `apiVersion: fleet/v1
kind: App
metadata: {name: web}
spec:%s
  container: {image: web}
  ports: [{port: 80}]
  announce: {}
  healthCheck: {http: {}}
  route: {hosts: [a.example.com]}
  release: {command: [migrate]}
`
	for _, path := range defaulted {
		t.Run(strings.TrimPrefix(path, "/"), func(t *testing.T) {
			manifest := fmt.Sprintf(text, "")
			if strings.HasPrefix(path, "/healthCheck/tcp/") {
				manifest = strings.Replace(manifest, "http: {}", "tcp: {}", 1)
			}
			if strings.HasPrefix(path, "/update/canary/") { // not with a fixed port
				manifest = strings.NewReplacer("{port: 80}", "{port: 80, hostPort: auto}", "release:", "update: {canary: {}}\n  release:").Replace(manifest)
			}
			parsed, err := v1.ParseApp([]byte(manifest))
			require.NoError(t, err)
			stored := asJSON(t, v1.Revision{Number: 1, AppUID: 5, ManifestRevision: 5, Metadata: v1.ObjectMeta{Name: "web"}, Spec: parsed.Spec})
			spec := stored["spec"].(map[string]any)
			known := map[string]bool{}
			leaves(spec, "", known)
			require.True(t, known[path], "this test's manifest does not reach the field: have it do so")
			without(t, spec, path)
			text := "[Service]\nExecStart=/generated/by/an/older/fleetd\n"
			stored["unitFile"], stored["sidekickFile"] = unitfile.Hash(text), unitfile.Hash(text+"#\n")
			data, err := json.Marshal(stored)
			require.NoError(t, err)
			latest, err := keyspace.New("").Revisions().Decode(data)
			require.NoError(t, err)

			in := Input{App: "web", Latest: &latest, LastNumber: 1, Texts: map[string]string{latest.UnitFile: text, latest.SidekickFile: text + "#\n"}}
			for _, c := range []struct {
				name, manifest string
				revisions      int
			}{{"written again", manifest + "# a comment\n", 0}, {"scaled", strings.Replace(manifest, "spec:", "spec:\n  replicas: 2", 1), 1}} {
				in.Manifest = &Manifest{Raw: []byte(c.manifest), UID: 5, Revision: 6}
				revisions := 0
				for _, a := range Plan(in).Actions {
					switch a.Kind {
					case PutRevision:
						revisions++
						require.Equal(t, latest.UnitFile, a.NewRevision.UnitFile, c.name)
						require.Equal(t, latest.SidekickFile, a.NewRevision.SidekickFile, c.name)
					case PutUnit:
						require.Contains(t, []string{latest.UnitFile, latest.SidekickFile}, a.Unit.Spec.Hash, c.name)
					}
				}
				require.Equal(t, c.revisions, revisions, c.name)
			}
		})
	}
}
