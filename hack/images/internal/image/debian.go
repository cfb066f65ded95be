package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debian takes files out of Debian packages, which are downloaded but not installed.
type debian struct {
	// cache keeps the packages.
	cache string
	// root is where they are unpacked.
	root string
	// packages are the unpacked ones.
	packages []string
}

// add downloads and unpacks packages, of the version that apt would install.
func (d *debian) add(names ...string) error {
	for _, name := range names {
		archive, err := d.download(name)
		if err != nil {
			return fmt.Errorf("package %s: %w", name, err)
		}
		if _, err := output("", "dpkg", "-x", archive, d.root); err != nil {
			return err
		}
		status, err := output("", "dpkg-deb", "-f", archive)
		if err != nil {
			return err
		}
		// A scanner finds here what the image has, as in a Debian system without dpkg.
		control := filepath.Join(d.root, "var/lib/dpkg/status.d", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(control), 0o755), os.WriteFile(control, status, 0o644)); err != nil {
			return err
		}
		d.packages = append(d.packages, name)
	}
	return nil
}

// download returns the package's archive, from the cache if it is there.
func (d *debian) download(name string) (string, error) {
	// In a directory that has the package already apt-get would say nothing.
	empty := filepath.Join(d.root, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return "", err
	}
	source, err := output(empty, "apt-get", "download", "--print-uris", "-q", name)
	if err != nil || len(source) == 0 {
		if _, err := output("", "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		if source, err = output(empty, "apt-get", "download", "--print-uris", "-q", name); err != nil {
			return "", err
		}
	}
	fields := strings.Fields(string(source)) // 'uri' name size SHA256:sum
	if len(fields) != 4 {
		return "", fmt.Errorf("apt-get says %q", source)
	}
	_, sum, _ := strings.Cut(fields[3], ":")
	file := filepath.Join(d.cache, fields[1])
	if has(file, sum) {
		return file, nil
	}
	if _, err := output(d.cache, "apt-get", "download", "-q", name); err != nil {
		return "", err
	}
	if !has(file, sum) {
		return "", fmt.Errorf("%s has not the checksum that the package list says: remove it and try again", file)
	}
	return file, nil
}

func has(file, sum string) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	got := sha256.Sum256(data)
	return hex.EncodeToString(got[:]) == sum
}

// libraries returns the packages with shared libraries that a package depends on directly.
func libraries(name string) ([]string, error) {
	out, err := output("", "apt-cache", "depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
		"--no-enhances", name)
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		dependency, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && (strings.HasPrefix(dependency, "lib") || strings.HasPrefix(dependency, "zlib")) {
			found = append(found, dependency)
		}
	}
	slices.Sort(found)
	return found, nil
}

// program adds an executable and the loader and libraries that it needs, and theirs.
func (d *debian) program(to files, name string) error {
	if err := to.copy(filepath.Join(d.root, name), name, 0o755); err != nil {
		return err
	}
	return d.needs(to, filepath.Join(d.root, name))
}

func (d *debian) needs(to files, binary string) error {
	f, err := elf.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, section := range f.Progs {
		if section.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, section.Filesz)
		if _, err := section.ReadAt(name, 0); err != nil {
			return err
		}
		loader := string(bytes.TrimRight(name, "\x00"))
		from, err := d.find(path.Base(loader))
		if err != nil {
			return err
		}
		if err := to.copy(from, loader, 0o755); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		from, err := d.find(name)
		if err != nil {
			return fmt.Errorf("%s: %w", binary, err)
		}
		at, err := filepath.Rel(d.root, from)
		if err != nil {
			return err
		}
		if _, ok := to["/"+at]; ok {
			continue
		}
		if err := to.copy(from, "/"+at, 0o644); err != nil {
			return err
		}
		if err := d.needs(to, from); err != nil {
			return err
		}
	}
	return nil
}

// lua adds nginx's modules, with the libraries that they need, and their Lua files.
func (d *debian) lua(to files) error {
	for _, pattern := range []string{"usr/lib/nginx/modules/*.so", "usr/share/lua/5.1/*/*.lua", "usr/share/lua/5.1/*/*/*.lua", "usr/share/lua/5.1/*/*/*/*.lua"} {
		found, err := filepath.Glob(filepath.Join(d.root, pattern))
		if err != nil {
			return err
		}
		for _, from := range found {
			if err := to.copy(from, strings.TrimPrefix(from, d.root), 0o644); err != nil {
				return err
			}
			if strings.HasSuffix(from, ".so") {
				if err := d.needs(to, from); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// find returns a library in the directories that the loader looks into.
func (d *debian) find(name string) (string, error) {
	for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu"} {
		found, err := filepath.Glob(filepath.Join(d.root, pattern, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("library %s is in none of the packages %s", name, strings.Join(d.packages, ", "))
}

// papers adds the copyright of each package, and what it is.
func (d *debian) papers(to files) error {
	for _, name := range d.packages {
		for _, paper := range []string{"/usr/share/doc/" + name + "/copyright", "/var/lib/dpkg/status.d/" + name} {
			if err := to.copy(filepath.Join(d.root, paper), paper, 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// certificates adds the certificate authorities in one file, where programs look for them.
func (d *debian) certificates(to files) error {
	authorities, err := filepath.Glob(filepath.Join(d.root, "usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil {
		return err
	}
	if len(authorities) == 0 {
		return errors.New("package ca-certificates has no certificates")
	}
	var all []byte
	for _, name := range authorities { // sorted
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(bytes.TrimRight(append(all, data...), "\n"), '\n')
	}
	to["/etc/ssl/certs/ca-certificates.crt"] = file{mode: 0o644, data: all}
	return nil
}

func output(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Dir = &stderr, dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
