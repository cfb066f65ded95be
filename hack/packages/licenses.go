package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licenseFile is the name of a file that has to go along with a program that the module is linked into.
var licenseFile = regexp.MustCompile(`(?i)^(licen[sc]e|copying|notice)([.-]|$)`)

// licenses are those of Go and of all modules that are linked into these programs of a Go module, one after the other.
func (b *build) licenses(module string, programs []string) ([]byte, error) {
	var linked []string
	for _, program := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(b.programs, program))
		if err != nil {
			return nil, err
		}
		for _, dep := range info.Deps {
			linked = append(linked, dep.Path)
		}
	}
	slices.Sort(linked)
	linked = slices.Compact(linked)
	var out bytes.Buffer
	goroot, err := b.goTool(module, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	if err := appendLicenses(&out, "Go", strings.TrimSpace(goroot)); err != nil || len(linked) == 0 {
		return out.Bytes(), err
	}
	list, err := b.goTool(module, append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}, linked...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		dependency, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if err := appendLicenses(&out, dependency, dir); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func appendLicenses(out *bytes.Buffer, name, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("license of %s: %w", name, err)
	}
	found := false
	for _, entry := range entries {
		if entry.IsDir() || !licenseFile.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(out, "%s\n\n%s: %s\n\n%s\n", strings.Repeat("=", 80), name, entry.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("license of %s: there is none in %s: see what its authors say, and add it here", name, dir)
	}
	return nil
}

// goTool runs the go command in a module's directory, below the checkout.
func (b *build) goTool(module string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(b.top, module)
	var told bytes.Buffer
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, told.String())
	}
	return string(out), nil
}
