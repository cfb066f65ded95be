// Command packages builds the Debian and RPM packages of fleet, from programs that are built already. "make packages" runs it.
//
//	go run . -programs ../../bin/packages/linux-amd64 -arch amd64
//
// There are four packages, each as .deb and as .rpm: fleet has what a machine of a cluster needs, fleetctl what a laptop needs to work
// with one, fleet-registry a registry for container images, and fleet-compat what unit files of the original fleet expect of a machine.
// fleet depends on fleetctl of the same version. The same commit gives the same bytes: all times in a package are the
// commit's, or SOURCE_DATE_EPOCH.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/rpm"
)

func main() {
	var b build
	flag.StringVar(&b.top, "top", "../..", "the checkout's directory")
	flag.StringVar(&b.programs, "programs", "", "directory of the programs, static ones")
	flag.StringVar(&b.arch, "arch", "amd64", "what they are built for, as in GOARCH")
	flag.StringVar(&b.version, "version", "", "version of the packages (default that of git describe)")
	flag.StringVar(&b.only, "format", "", "debian or rpm, for packages of one kind (default both)")
	out := flag.String("out", "../../bin/packages", "directory for the packages")
	flag.Parse()
	written, err := run(b, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
	for _, file := range written {
		fmt.Println(file)
	}
}

// build is one run of this program.
type build struct {
	top, programs, arch, version string
	// only is the name of a format; empty for all.
	only string
	// commit is the time that everything in the packages has.
	commit time.Time
	// stage is a directory for files that are generated.
	stage string
}

// run builds all packages and returns their files. Packages that are in out already are of another version: they go first.
func run(b build, out string) (written []string, err error) {
	if b, err = b.described(); err != nil {
		return nil, err
	}
	if b.stage, err = os.MkdirTemp("", "fleet-packages-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.stage)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	if err := removeFormer(out); err != nil {
		return nil, err
	}
	for _, format := range []format{debian(), redhat()} {
		if b.only != "" && b.only != format.name {
			continue
		}
		infos, err := b.packages(format)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			file, err := write(format.packager, info, out)
			if err != nil {
				return nil, fmt.Errorf("package %s: %w", info.Name, err)
			}
			written = append(written, file)
		}
	}
	if len(written) == 0 {
		return nil, fmt.Errorf("format %q: use debian or rpm", b.only)
	}
	return written, nil
}

// described is the build with the checkout's time, and its version where none is given.
func (b build) described() (build, error) {
	var err error
	if b.commit.IsZero() {
		if b.commit, err = commitTime(b.top); err != nil {
			return b, err
		}
	}
	if b.version == "" {
		b.version, err = describe(b.top, b.commit)
	}
	return b, err
}

func removeFormer(out string) error {
	for _, pattern := range []string{"*.deb", "*.rpm"} {
		files, err := filepath.Glob(filepath.Join(out, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// format is a kind of packages, and what differs with it.
type format struct {
	name     string // of its directory here
	packager nfpm.Packager
	scripts  nfpm.Scripts // file names
	zsh      string       // directory of zsh's completion
	licenses string       // directory of directories, one a package
}

func debian() format {
	return format{"debian", deb.Default, nfpm.Scripts{PostInstall: "fleet.postinst", PreRemove: "fleet.prerm", PostRemove: "fleet.postrm"},
		"/usr/share/zsh/vendor-completions", "/usr/share/doc"}
}

func redhat() format {
	return format{"rpm", rpm.DefaultRPM, nfpm.Scripts{PostInstall: "fleet.post", PreRemove: "fleet.preun", PostRemove: "fleet.postun"},
		"/usr/share/zsh/site-functions", "/usr/share/licenses"}
}

func write(packager nfpm.Packager, info *nfpm.Info, out string) (file string, err error) {
	file = filepath.Join(out, packager.ConventionalFileName(info))
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return file, packager.Package(info, io.Writer(f))
}
