// Package archive reads container images from what "docker save" and other tools write.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// refName is the annotation in which an OCI layout keeps the name of an image.
const refName = "org.opencontainers.image.ref.name"

// fullName is the same, as containerd writes it: the whole reference, not the tag alone.
const fullName = "io.containerd.image.name"

// Image is what an archive holds: an image, or an index of images for several platforms.
type Image struct {
	// Name is the reference that the archive gives; empty if there is none, or more than one.
	Name string
	// One of them is set.
	Image v1.Image
	Index v1.ImageIndex
}

// Read returns the image in a file that docker or an OCI tool wrote, or in the directory of an OCI layout. A file is unpacked
// below scratch if need be; both have to stay until the image was used. An archive of several images is refused.
func Read(file, scratch string) (Image, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Image{}, err
	}
	if info.IsDir() {
		return readLayout(file)
	}
	docker, oci, err := contents(file)
	switch {
	case err != nil:
		return Image{}, fmt.Errorf("%s is not an archive of an image: %w", file, err)
	case docker: // newer versions of docker write both into one file
		return readDocker(file)
	case oci:
		if err := unpack(file, scratch); err != nil {
			return Image{}, fmt.Errorf("%s: %w", file, err)
		}
		return readLayout(scratch)
	}
	return Image{}, fmt.Errorf("%s is not an archive of an image: it has neither manifest.json nor index.json; write it with docker save", file)
}

// contents says which forms an archive has.
func contents(file string) (docker, oci bool, err error) {
	err = walk(file, func(header *tar.Header, _ io.Reader) error {
		docker = docker || path.Clean(header.Name) == "manifest.json"
		oci = oci || path.Clean(header.Name) == "index.json"
		return nil
	})
	return docker, oci, err
}

func walk(file string, visit func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = visit(header, archive)
		}
		if err != nil {
			return err
		}
	}
}

func readDocker(file string) (Image, error) {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return Image{}, fmt.Errorf("%s: manifest.json: %w", file, err)
	}
	var tags []string
	for _, image := range manifest {
		tags = append(tags, image.RepoTags...)
	}
	if len(manifest) > 1 {
		return Image{}, several(file, tags)
	}
	var found Image
	if len(tags) == 1 {
		found.Name = tags[0]
	}
	found.Image, err = tarball.ImageFromPath(file, nil)
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", file, err)
	}
	return found, nil
}

func readLayout(dir string) (Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("%s is not an image: it has no index.json", dir)
	}
	if err != nil {
		return Image{}, fmt.Errorf("%s: index.json: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return Image{}, fmt.Errorf("%s: index.json: %w", dir, err)
	}
	if len(manifest.Manifests) != 1 {
		var names []string
		for _, descriptor := range manifest.Manifests {
			names = append(names, nameOf(descriptor))
		}
		return Image{}, several(dir, names)
	}
	image := manifest.Manifests[0]
	found := Image{Name: nameOf(image)}
	if image.MediaType.IsIndex() {
		found.Index, err = index.ImageIndex(image.Digest)
	} else {
		found.Image, err = index.Image(image.Digest)
	}
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", dir, err)
	}
	return found, nil
}

func nameOf(descriptor v1.Descriptor) string {
	if full := descriptor.Annotations[fullName]; full != "" {
		return full
	}
	ref := descriptor.Annotations[refName]
	if !strings.ContainsAny(ref, "/:") {
		return "" // a tag alone does not name an image
	}
	return ref
}

func several(file string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%s holds no image", file)
	}
	return fmt.Errorf("%s holds several images (%s): write an archive of one", file, strings.Join(names, ", "))
}

// unpack writes the files of an archive below a directory, and none elsewhere.
func unpack(file, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return walk(file, func(header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		if err := root.MkdirAll(filepath.Dir(header.Name), 0o700); err != nil {
			return err
		}
		f, err := root.OpenFile(header.Name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	})
}
