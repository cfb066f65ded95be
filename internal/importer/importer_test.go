package importer

import (
	"bytes"
	goflag "flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var update = goflag.Bool("update", false, "write the golden outputs")

// print is what fleetctl import writes: the manifests, with their notes as comments.
func printed(t testing.TB, objects []Object, refused []Note) string {
	var b bytes.Buffer
	for _, n := range refused {
		b.WriteString("# " + n.String() + "\n")
	}
	for _, o := range objects {
		text, err := o.YAML()
		require.NoError(t, err)
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.String()
}

// TestImport reads unit files in the manner of those that people publish, each with what becomes of it.
func TestImport(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	count := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			inputs, want := split(archive)
			count += len(inputs)
			objects, refused := Import(inputs)
			got := printed(t, objects, refused)
			if *update {
				archive.Files = append(slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want.yaml" }), txtar.File{Name: "want.yaml", Data: []byte(got)})
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			} else {
				require.Equal(t, want, got)
			}
			valid(t, objects)
			sameCommands(t, inputs, objects)
			require.Equal(t, len(inputs), len(refused)+units(objects), "each file is in a manifest, beside its app's, or refused")
		})
	}
	require.GreaterOrEqual(t, count, 50)
}

func split(archive *txtar.Archive) (inputs []Input, want string) {
	for _, f := range archive.Files {
		if f.Name == "want.yaml" {
			want = string(f.Data)
		} else {
			inputs = append(inputs, Input{f.Name, string(f.Data)})
		}
	}
	return inputs, want
}

// units counts the unit files that are in manifests: two for an app that has its sidekick.
func units(objects []Object) (n int) {
	for _, o := range objects {
		n++
		if o.App != nil && o.sidekick {
			n++
		}
	}
	return n
}

// valid: what is written is accepted.
func valid(t testing.TB, objects []Object) {
	for _, o := range objects {
		text, err := o.YAML()
		require.NoError(t, err)
		parsed, err := v1.ParseManifests(text)
		require.NoError(t, err, "%s", text)
		require.Len(t, parsed, 1, "%s", text)
		if app := parsed[0].App; app != nil {
			app.Default()
			_, err := generate.Units(app.Metadata.Name, &app.Spec)
			require.NoError(t, err, "%s", text)
		}
	}
}

// dropped are the flags that the generated unit has others for, and those that the notes tell of.
var dropped = []string{"rm", "detach", "restart", "label", "log-driver", "pull", "name"}

// sameCommands: the docker command of a generated unit has the original's flags, image and arguments; a process is started by the
// same words.
func sameCommands(t testing.TB, inputs []Input, objects []Object) {
	for _, in := range inputs {
		s, err := read(in)
		if err != nil {
			continue
		}
		for _, o := range objects {
			if o.App == nil || o.App.Metadata.Name != s.app || o.file != in.File {
				continue
			}
			app := *o.App
			app.Default()
			files, err := generate.Units(app.Metadata.Name, &app.Spec)
			require.NoError(t, err)
			generated, err := unitfile.Parse(files.Unit)
			require.NoError(t, err)
			got, want := command(generated.Values("Service", "ExecStart")[0]), command(s.literal(s.file.Values("Service", "ExecStart")[0]))
			if app.Spec.Exec != nil {
				require.Equal(t, want, got, in.File)
				continue
			}
			requireSameRun(t, s, got, want)
		}
	}
}

func requireSameRun(t testing.TB, s *source, got, want []string) {
	values := map[string]string{}
	for _, o := range s.file.Options() {
		if o.Name == "Environment" && !strings.Contains(o.Value, "%") {
			words, _ := unitfile.SplitCommand(strings.ReplaceAll(o.Value, "$", "$$"))
			for _, w := range words {
				if name, value, ok := strings.Cut(w, "="); ok && !expands(value) {
					values[name] = value
				}
			}
		}
	}
	for i, w := range want {
		for name, value := range values {
			want[i] = strings.ReplaceAll(w, "${"+name+"}", value)
			w = want[i]
		}
	}
	a, err := parseRun(want)
	require.NoError(t, err)
	b, err := parseRun(slices.DeleteFunc(got, func(w string) bool { return strings.HasPrefix(w, "--events-backend") }))
	require.NoError(t, err, "%q", got)
	require.Equal(t, a.image, b.image)
	entry := func(r *dockerRun) []string { e, _ := r.first("entrypoint"); return append([]string{e}, r.args...) }
	require.Equal(t, entry(a), entry(b))
	host := slices.ContainsFunc(a.flags, func(f flag) bool { return (f.name == "net" || f.name == "network") && f.value == "host" })
	for _, f := range a.flags {
		if slices.Contains(dropped, f.name) && f.name != "name" || f.name == "entrypoint" || host && f.name == "publish" {
			continue
		}
		f.value = strings.TrimSuffix(f.value, "/tcp")
		require.Contains(t, b.flags, f, "%s: %q", s.File, got)
	}
}

func FuzzImport(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		inputs, _ := split(archive)
		for _, in := range inputs {
			f.Add(in.File, in.Text)
		}
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		inputs := []Input{{name, text}, {"fuzz/web-announce@.service", "[Unit]\nBindsTo=web@%i.service\n[Service]\nExecStart=/bin/sh -c \"while true; do etcdctl set /services/web/web/web@%i 1.2.3.4:80 --ttl 60; sleep 9; done\"\n"}}
		objects, refused := Import(inputs)
		printed(t, objects, refused)
		valid(t, objects)
		sameCommands(t, inputs, objects)
	})
}
