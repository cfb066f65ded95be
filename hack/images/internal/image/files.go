// Package image builds fleet's container images without a container engine: of static programs, and of files from Debian
// packages. The same input gives the same digest.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// files are the contents of a layer by absolute path. All belong to root and are as old as the epoch, so that a layer that
// holds the same files is the same layer.
type files map[string]file

type file struct {
	mode os.FileMode // os.ModeDir, or a regular file; permissions with the sticky bit as os.ModeSticky
	data []byte
}

func (f files) dir(path string, mode os.FileMode) { f[path] = file{mode: os.ModeDir | mode} }

func (f files) text(path, text string) { f[path] = file{mode: 0o644, data: []byte(text)} }

// copy takes the contents of a file, also by way of symbolic links, so that the layer needs none.
func (f files) copy(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f[to] = file{mode: mode, data: data}
	return nil
}

// layer returns the files, and the directories that they are in, as a layer.
func (f files) layer() (v1.Layer, error) {
	all := maps.Clone(f)
	for name := range f {
		if path.Clean(name) != name || !strings.HasPrefix(name, "/") || name == "/" {
			return nil, fmt.Errorf("%q is not an absolute path", name)
		}
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all.dir(dir, 0o755)
			}
		}
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		entry := all[name]
		header := &tar.Header{Name: name[1:], Mode: int64(entry.mode.Perm()), Typeflag: tar.TypeReg, Size: int64(len(entry.data)), Format: tar.FormatPAX}
		if entry.mode.IsDir() {
			header.Name, header.Typeflag = header.Name+"/", tar.TypeDir
		}
		if entry.mode&os.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(entry.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithCompressedCaching)
}
