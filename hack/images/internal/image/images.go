package image

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Options are what images are built of.
type Options struct {
	// Programs is the directory of the static programs: router, example-app and fleet-registry.
	Programs string
	// Packages is a directory that keeps downloaded Debian packages.
	Packages string
	// Version is what the images' labels say.
	Version string
	// Created is the time that the images say that they were made, of the commit.
	Created time.Time
}

// Image is a built image.
type Image struct {
	Name string
	v1.Image
}

// users are those that the programs run as.
const (
	passwd = "root:x:0:0:root:/root:/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
	group  = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"
)

// Build builds the images.
func Build(o Options) ([]Image, error) {
	root, err := os.MkdirTemp("", "fleet-images")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if err := os.MkdirAll(o.Packages, 0o755); err != nil {
		return nil, err
	}
	var images []Image
	for _, build := range []func(Options, string) (Image, error){registry, router, exampleApp} {
		image, err := build(o, root)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// registry is the registry, to be run in a container.
func registry(o Options, root string) (Image, error) {
	base := files{}
	d := debian{cache: o.Packages, root: filepath.Join(root, "registry")}
	if err := d.add("ca-certificates"); err != nil {
		return Image{}, err
	}
	if err := d.certificates(base); err != nil {
		return Image{}, err
	}
	if err := d.papers(base); err != nil {
		return Image{}, err
	}
	base.text("/etc/passwd", passwd)
	base.text("/etc/group", group)
	base.dir("/tmp", 0o777|os.ModeSticky)
	return o.image("registry", base, "fleet-registry", v1.Config{
		Cmd: []string{"serve"},
		// In a container the port is published by the engine. Credentials are a file that is mounted there.
		Env:          []string{"REGISTRY_HTTP_ADDR=:5000", "CREDENTIALS_DIRECTORY=/run/credentials"},
		ExposedPorts: map[string]struct{}{"5000/tcp": {}},
	})
}

// luaModule is what lets endpoints change without a reload. Of the two LuaJITs that it may be used with, it is faster with this one.
var luaModule = []string{"libnginx-mod-http-lua", "libnginx-mod-http-ndk", "lua-resty-core", "lua-resty-lrucache", "libluajit2-5.1-2", "libpcre3", "libgcc-s1"}

// router is our router and Debian's nginx with what that needs, and nothing else: there is no shell.
func router(o Options, root string) (Image, error) {
	base := files{}
	d := debian{cache: o.Packages, root: filepath.Join(root, "router")}
	needed, err := libraries("nginx")
	if err != nil {
		return Image{}, err
	}
	if err := d.add(slices.Concat([]string{"nginx", "nginx-common"}, needed, luaModule)...); err != nil {
		return Image{}, err
	}
	if err := d.program(base, "/usr/sbin/nginx"); err != nil {
		return Image{}, err
	}
	if err := d.lua(base); err != nil {
		return Image{}, err
	}
	if err := base.copy(filepath.Join(d.root, "etc/nginx/mime.types"), "/etc/nginx/mime.types", 0o644); err != nil {
		return Image{}, err
	}
	if err := d.papers(base); err != nil {
		return Image{}, err
	}
	base.text("/etc/passwd", passwd)
	base.text("/etc/group", group)
	for _, dir := range []string{"/run/fleet/router", "/var/lib/nginx", "/var/log/nginx"} {
		base.dir(dir, 0o755)
	}
	base.dir("/tmp", 0o777|os.ModeSticky)
	return o.image("router", base, "router", v1.Config{ExposedPorts: map[string]struct{}{"80/tcp": {}}})
}

func exampleApp(o Options, _ string) (Image, error) {
	base := files{}
	base.text("/etc/passwd", passwd)
	base.text("/etc/group", group)
	return o.image("example-app", base, "example-app", v1.Config{User: "65534:65534", ExposedPorts: map[string]struct{}{"3000/tcp": {}}})
}

// image makes an image of two layers: what seldom changes, and the program. A push of a new version sends the program alone.
func (o Options) image(name string, base files, program string, config v1.Config) (Image, error) {
	own := files{}
	if err := own.copy(filepath.Join(o.Programs, program), "/usr/bin/"+program, 0o755); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	var layers []v1.Layer
	for _, f := range []files{base, own} {
		layer, err := f.layer()
		if err != nil {
			return Image{}, fmt.Errorf("image %s: %w", name, err)
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return Image{}, err
	}
	config.Entrypoint = []string{"/usr/bin/" + program}
	config.Env = append([]string{"PATH=/usr/sbin:/usr/bin"}, config.Env...)
	config.WorkingDir = "/"
	config.StopSignal = "SIGTERM"
	config.Labels = map[string]string{
		"org.opencontainers.image.title":   name,
		"org.opencontainers.image.version": o.Version,
		"org.opencontainers.image.source":  "https://github.com/fleet-starter/fleet",
	}
	made, err := image.ConfigFile()
	if err != nil {
		return Image{}, err
	}
	made = made.DeepCopy()
	made.Config, made.OS, made.Architecture, made.Created = config, "linux", runtime.GOARCH, v1.Time{Time: o.Created.UTC()}
	made.History = nil
	image, err = mutate.ConfigFile(image, made)
	return Image{Name: name, Image: image}, err
}

// Write writes the image as an archive for "docker load", with these tags, and returns its file. All versions of docker and
// podman read docker's own form of archives; those of OCI the older ones do not.
func (i Image) Write(dir string, tags ...string) (string, error) {
	refs := map[name.Tag]v1.Image{}
	for _, tag := range tags {
		ref, err := name.NewTag(tag)
		if err != nil {
			return "", err
		}
		refs[ref] = i.Image
	}
	file := filepath.Join(dir, i.Name+".tar")
	beside := file + ".new"
	defer os.Remove(beside)
	if err := tarball.MultiWriteToFile(beside, refs); err != nil {
		return "", err
	}
	return file, os.Rename(beside, file)
}
