// Package repository reads the manifests of a commit: the same for sources, which the leader applies, and for fleetctl's --from-git. It
// is pure.
package repository

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// File is a manifest's file of a commit.
type File struct {
	Path, Blob string
	Data       []byte
	// Built is the object that kustomize has built, such as app/web; Path is the kustomization's. Empty: it is the very file.
	Built string
	// Fault is why a kustomization cannot be built. Then there is no Data.
	Fault string
}

// Key names an object.
type Key struct{ Kind, Name string }

// String is the key as people write it, such as app/web.
func (k Key) String() string { return strings.ToLower(k.Kind) + "/" + k.Name }

// Object is one document of a commit.
type Object struct {
	Key
	// Path, Line and Blob are where it is, Hash is the SHA-256 of Raw.
	Path string
	Line int
	Blob string
	Hash string
	Raw  []byte
	App  *v1.App // nil: it is a Source
}

// Manifests are all objects of a commit, or why not all can be applied.
type Manifests struct {
	Commit v1.SourceCommit
	// Objects are sorted by kind and name; none if there is a Fault.
	Objects []Object
	// Fault has a line for each error, with file, line and field.
	Fault error
}

// MaxObjects is how many objects a source may have: its status lists them, in one value of etcd.
const MaxObjects = 1000

// Read reads the manifests of a commit, whole or not at all.
func Read(commit v1.SourceCommit, files []File) *Manifests {
	m := &Manifests{Commit: commit}
	var faults v1.ManifestErrors
	at := map[Key]string{}
	for _, f := range files {
		objects, errs := readFile(f)
		faults = append(faults, errs...)
		for _, o := range objects {
			if first, twice := at[o.Key]; twice {
				faults = append(faults, &v1.ManifestError{Message: fmt.Sprintf("%s: %s is in %s, too: remove one", o.Place(), o.Key, first)})
				continue
			}
			at[o.Key] = o.Place()
			m.Objects = append(m.Objects, o)
		}
	}
	if len(m.Objects) > MaxObjects {
		faults = append(faults, &v1.ManifestError{Message: fmt.Sprintf("the commit has %d objects, a source at most %d: use several sources", len(m.Objects), MaxObjects)})
	}
	if len(faults) > 0 {
		return &Manifests{Commit: commit, Fault: faults}
	}
	slices.SortFunc(m.Objects, func(a, b Object) int { return a.Compare(b.Key) })
	return m
}

// KeyOf is what an entry of a source's inventory is about.
func KeyOf(o v1.SourceObject) Key { return Key{Kind: o.Kind, Name: o.Name} }

// Hash is that of an object's text.
func Hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Compare orders keys by kind and name.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Kind, other.Kind), cmp.Compare(k.Name, other.Name))
}

// Place is where the document is, such as prod/web.yaml:1.
func (o *Object) Place() string {
	if o.Line == 0 { // what was built is in no line of a file
		return o.Path
	}
	return fmt.Sprintf("%s:%d", o.Path, o.Line)
}

// byteOrderMark begins files that some editors on Windows write.
var byteOrderMark = []byte("\xef\xbb\xbf")

// readFile reads the documents of one file; each becomes an object whose text is stored as it is.
func readFile(f File) (objects []Object, faults v1.ManifestErrors) {
	if f.Fault != "" {
		return nil, v1.ManifestErrors{{Message: f.Fault}}
	}
	if f.Built == "" && isKustomization(f.Path) {
		return nil, v1.ManifestErrors{{Message: fmt.Sprintf("%s: a kustomization is built only in the path of a source: set spec.git.path to %s, or use a source for it", f.Path, path.Dir(f.Path))}}
	}
	data := bytes.TrimPrefix(f.Data, byteOrderMark)
	documents, err := v1.ParseManifests(data)
	if errs := (v1.ManifestErrors)(nil); errors.As(err, &errs) {
		for _, e := range errs {
			faults = append(faults, inFile(f, e))
		}
		return nil, faults
	}
	for _, d := range documents {
		o := Object{Key: Key{d.Kind(), d.Name()}, Path: f.Path, Line: d.Line, Blob: f.Blob, Raw: d.Raw, App: d.App}
		if f.Built != "" {
			o.Line = 0
		}
		if d.Unit != nil {
			faults = append(faults, &v1.ManifestError{Message: fmt.Sprintf("%s: %s: a source applies kinds App and Source: write an App, or submit the unit with fleetctl",
				o.Place(), o.Key)})
			continue
		}
		o.Hash = Hash(d.Raw)
		objects = append(objects, o)
	}
	return objects, faults
}

// inFile says which file an error is in, as compilers do: prod/web.yaml:12: spec.replicas: ...
func inFile(f File, e *v1.ManifestError) *v1.ManifestError {
	if e.More > 0 {
		return e
	}
	file := f.Path
	switch {
	case f.Built != "":
		file += ": " + f.Built + ", as it is built"
	case e.Line > 0:
		file = fmt.Sprintf("%s:%d", file, e.Line)
	}
	told := *e
	told.Line = 0
	return &v1.ManifestError{Message: file + ": " + told.Error()}
}

func isKustomization(file string) bool {
	switch path.Base(file) {
	case "kustomization.yaml", "kustomization.yml":
		return true
	}
	return false
}
