package archive

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an archive names outside of the scratch directory is refused, and written nowhere.
func TestReadStaysInside(t *testing.T) {
	for _, name := range []string{"../evil", "/evil", "blobs/../../evil"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			scratch := filepath.Join(dir, "scratch")
			require.NoError(t, os.Mkdir(scratch, 0o700))
			file := write(t, map[string]string{"index.json": `{"manifests":[]}`, name: "evil"})
			_, err := Read(file, scratch)
			require.ErrorContains(t, err, "escapes")
			require.NoFileExists(t, filepath.Join(dir, "evil"))
			require.NoFileExists(t, "/evil")
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"neither":      {map[string]string{"file": "x"}, "has neither manifest.json nor index.json; write it with docker save"},
		"broken":       {map[string]string{"manifest.json": "{"}, "manifest.json"},
		"broken index": {map[string]string{"index.json": "{"}, "index.json"},
		"empty index":  {map[string]string{"index.json": `{"manifests":[]}`}, "holds no image"},
		"lost layer":   {map[string]string{"manifest.json": `[{"Config":"c","Layers":["l"]}]`}, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(write(t, test.files), t.TempDir())
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := Read("/does/not/exist", t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func write(t *testing.T, files map[string]string) string {
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := tar.NewWriter(f)
	for name, text := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	return path
}
