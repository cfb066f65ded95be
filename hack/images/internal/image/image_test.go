package image

import (
	"archive/tar"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

func TestLayer(t *testing.T) {
	f := files{}
	f.text("/etc/passwd", "root")
	f.dir("/tmp", 0o777|os.ModeSticky)
	layer, err := f.layer()
	require.NoError(t, err)
	content, err := layer.Uncompressed()
	require.NoError(t, err)
	defer content.Close()
	var got []string
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Zero(t, header.Uid+header.Gid)
		require.Zero(t, header.ModTime.Unix())
		got = append(got, header.FileInfo().Mode().String()+" "+header.Name)
	}
	require.Equal(t, []string{"drwxr-xr-x etc/", "-rw-r--r-- etc/passwd", "dtrwxrwxrwx tmp/"}, got)

	f["/a/../b"] = file{}
	_, err = f.layer()
	require.ErrorContains(t, err, "not an absolute path")
}

// Built twice, the images are the same byte for byte, and docker's archives hold them as they are.
func TestReproducible(t *testing.T) {
	for _, program := range []string{"apt-get", "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is missing: images of Debian packages are not built", program)
		}
	}
	programs := t.TempDir()
	for _, program := range []string{"router", "example-app", "fleet-registry"} {
		require.NoError(t, os.WriteFile(filepath.Join(programs, program), []byte(program), 0o700))
	}
	packages, err := filepath.Abs("../../../../bin/images/debian")
	require.NoError(t, err)
	o := Options{Programs: programs, Packages: packages, Version: "1.2.3", Created: time.Unix(1_800_000_000, 0)}
	first, err := Build(o)
	require.NoError(t, err)
	second, err := Build(o)
	require.NoError(t, err)
	o.Version = "1.2.4"
	third, err := Build(o)
	require.NoError(t, err)
	require.Len(t, first, 3)
	for i := range first {
		require.Equal(t, digest(t, first[i]), digest(t, second[i]), first[i].Name)
		require.NotEqual(t, digest(t, first[i]), digest(t, third[i]), first[i].Name)
		read := archived(t, first[i], "localhost:5000/"+first[i].Name+":latest")
		require.NoError(t, validate.Image(read))
		require.Equal(t, digest(t, first[i]), digest(t, read), first[i].Name)
	}
	t.Run("nginx runs", func(t *testing.T) { nginxRuns(t, first[1]) })
	t.Run("files", func(t *testing.T) {
		has := unpack(t, first[0])
		require.FileExists(t, has+"/etc/ssl/certs/ca-certificates.crt")
	})
}

// nginxRuns shows that the router's image has all that nginx needs.
func nginxRuns(t *testing.T, router Image) {
	if os.Getuid() != 0 {
		t.Skip("not root: nothing can be run in the router's image")
	}
	root := unpack(t, router)
	require.NoError(t, os.WriteFile(root+"/tmp/nginx.conf", []byte("load_module /usr/lib/nginx/modules/ndk_http_module.so;\nload_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\nevents {}\n"+
		"http { init_by_lua_block { require \"ngx.balancer\" }  include /etc/nginx/mime.types; server { listen 127.0.0.1:1; } }\n"), 0o644))
	require.NoError(t, os.MkdirAll(root+"/dev", 0o755))
	require.NoError(t, os.WriteFile(root+"/dev/null", nil, 0o644))
	out, err := exec.Command("chroot", root, "/usr/sbin/nginx", "-t", "-e", "stderr", "-c", "/tmp/nginx.conf").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "test is successful")
	require.FileExists(t, root+"/usr/share/doc/nginx/copyright")
	require.NoFileExists(t, root+"/bin/sh")
}

func unpack(t *testing.T, image v1.Image) string {
	root := t.TempDir()
	content := mutate.Extract(image)
	defer content.Close()
	untar := exec.Command("tar", "-x", "-C", root)
	untar.Stdin = content
	out, err := untar.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return root
}

func archived(t *testing.T, image Image, tag string) v1.Image {
	file, err := image.Write(t.TempDir(), tag)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(file, image.Name+".tar"))
	ref, err := name.NewTag(tag)
	require.NoError(t, err)
	read, err := tarball.ImageFromPath(file, &ref)
	require.NoError(t, err)
	return read
}

func digest(t *testing.T, image v1.Image) string {
	d, err := image.Digest()
	require.NoError(t, err)
	return d.String()
}
