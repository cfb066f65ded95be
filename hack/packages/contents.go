package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

const (
	homepage   = "https://github.com/fleet-starter/fleet"
	maintainer = "The Fleet Starter authors <fleet-starter@users.noreply.github.com>"
)

const aboutFleet = `Apps and systemd units on a cluster of machines
 fleet runs apps and systemd units on a cluster of machines, over etcd: it
 places them, moves them when a machine is lost, replaces them one after the
 other, and has nginx route requests to those that are healthy.
 .
 This package has what each machine of the cluster needs: fleetd, the daemon,
 with announcer, router and fleet-kustomize, and an example application.`

const aboutFleetctl = `Command line of fleet, apps and systemd units on a cluster
 fleet runs apps and systemd units on a cluster of machines, over etcd.
 .
 This package has fleetctl alone, for a computer that is not of the cluster.`

const aboutRegistry = `Registry of container images, with storage that machines share
 fleet-registry serves container images to the machine that it runs on, from
 Azure Blob, S3 or a directory: what is pushed on one machine of a cluster is
 pulled on all of them.
 .
 fleet runs it as an app. Until then nothing is started.`

const aboutCompat = `etcdctl and /etc/environment as unit files of fleet 1.0 expect them
 Unit files that were written for fleet on CoreOS announce their services with
 "etcdctl set --ttl" and "etcdctl rm", commands of etcd 2, and read the address
 of their machine from /etc/environment.
 .
 This package has an etcdctl with the key commands of etcd 2 over etcd 3, which
 hands all others to the etcdctl in whose place it is, and has fleetd keep the
 variables of CoreOS in /etc/environment.`

// packages are the packages of one format.
func (b *build) packages(f format) (all []*nfpm.Info, err error) {
	for _, assemble := range []func(format) (*nfpm.Info, error){b.fleet, b.fleetctl, b.registry, b.compat} {
		info, err := assemble(f)
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// info is what all packages have in common.
func (b *build) info(f format, name, about string) *nfpm.Info {
	if f.name == "rpm" { // Debian's notation of paragraphs is Debian's
		about = strings.NewReplacer("\n .\n", "\n\n", "\n ", "\n").Replace(about)
	}
	info := &nfpm.Info{
		Name: name, Arch: b.arch, Platform: "linux", Version: b.version, VersionSchema: "none", MTime: b.commit,
		Section: "admin", Priority: "optional", Maintainer: maintainer, Homepage: homepage, Description: about,
		DisableGlobbing: true,
	}
	if f.name == "rpm" { // Debian has no such field: its licenses are in /usr/share/doc
		info.License = "Apache-2.0"
	}
	info.Deb.Compression = "gzip" // xz makes it a tenth smaller, and takes twenty times as long
	info.RPM.Compression = "gzip:-1"
	info.RPM.BuildHost = "localhost" // the builder's name is not to be in it: two computers build the same
	return info
}

// fleet is the package of a machine.
func (b *build) fleet(f format) (*nfpm.Info, error) {
	info := b.info(f, "fleet", aboutFleet)
	if f.name == "debian" {
		// 249 has StopPropagatedFrom= of fleetd.socket; all else that is used is older.
		info.Depends = []string{"fleetctl (= " + b.version + ")", "systemd (>= 249)"}
		info.Recommends = []string{"nginx", "libnginx-mod-http-lua", "docker.io | docker-ce | podman"}
		info.Suggests = []string{"fleet-registry", "etcd-server", "time-daemon"}
	} else {
		info.Depends = []string{"fleetctl = " + b.version, "systemd >= 249"}
		info.Recommends = []string{"nginx", "podman"}
	}
	scripts := filepath.Join(b.top, "hack/packages", f.name)
	info.Scripts.PostInstall = filepath.Join(scripts, f.scripts.PostInstall)
	info.Scripts.PreRemove = filepath.Join(scripts, f.scripts.PreRemove)
	info.Scripts.PostRemove = filepath.Join(scripts, f.scripts.PostRemove)

	c := b.contents(f, "fleet")
	c.program("fleetd", "announcer", "router", "fleet-kustomize", "example-app")
	c.unit("fleetd.service", "fleetd.socket")
	c.file("hack/packages/sysusers.conf", "/usr/lib/sysusers.d/fleet.conf", 0o644)
	c.directory("/etc/fleet")
	c.generated("/etc/fleet/fleet.conf", fleetConf(), 0o640).Type = files.TypeConfigNoReplace
	for _, page := range []string{"fleetd.8", "fleet.conf.5", "announcer.1", "router.1", "fleet-kustomize.1", "example-app.1"} {
		c.manual(page, func() ([]byte, error) { return b.manual(page) })
	}
	for _, example := range []string{"examples/router.yaml", "examples/hello.yaml", "router/apps.tmpl"} {
		c.file("manifests/"+example, "/usr/share/doc/fleet/examples/"+filepath.Base(example), 0o644)
	}
	c.common("fleet")
	info.Contents = c.list
	return info, c.err
}

// fleetctl is the package of a computer that is not of the cluster.
func (b *build) fleetctl(f format) (*nfpm.Info, error) {
	info := b.info(f, "fleetctl", aboutFleetctl)
	c := b.contents(f, "fleetctl")
	c.program("fleetctl")
	pages, err := b.fleetctlManual()
	c.failed(err)
	for _, page := range pages {
		c.manual(page.name, func() ([]byte, error) { return page.text, nil })
	}
	for _, shell := range completions(f.zsh) {
		c.generated(shell.path, shell.text, 0o644)
	}
	c.common("fleetctl")
	info.Contents = c.list
	return info, c.err
}

// registry is the package of a machine that pulls images from a registry of the cluster.
func (b *build) registry(f format) (*nfpm.Info, error) {
	info := b.info(f, "fleet-registry", aboutRegistry)
	c := b.contents(f, "fleet-registry")
	c.module = "hack/images"
	c.program("fleet-registry")
	c.manual("fleet-registry.1", func() ([]byte, error) { return b.manual("fleet-registry.1") })
	for _, example := range []string{"registry.yaml", "registry-garbage-collection.yaml"} {
		c.file("manifests/"+example, "/usr/share/doc/fleet-registry/examples/"+example, 0o644)
	}
	c.common("fleet-registry")
	info.Contents = c.list
	return info, c.err
}

// compat is the package of a machine with unit files of the original fleet. Debian's dpkg moves the machine's own etcdctl away; where
// there is no such thing, the scripts do.
func (b *build) compat(f format) (*nfpm.Info, error) {
	info := b.info(f, "fleet-compat", aboutCompat)
	etcdctl := "/usr/bin/etcdctl"
	scripts := filepath.Join(b.top, "hack/packages", f.name)
	if f.name == "debian" {
		info.Depends = []string{"fleet"}
		info.Recommends = []string{"etcd-client"}
		info.Scripts.PreInstall = filepath.Join(scripts, "fleet-compat.preinst")
		info.Scripts.PostInstall = filepath.Join(scripts, "fleet-compat.postinst")
		info.Scripts.PostRemove = filepath.Join(scripts, "fleet-compat.postrm")
	} else {
		info.Depends = []string{"fleet"}
		info.Recommends = []string{"etcd"}
		etcdctl = "/usr/libexec/fleet-compat/etcdctl"
		info.Scripts.PostInstall = filepath.Join(scripts, "fleet-compat.post")
		info.Scripts.PostRemove = filepath.Join(scripts, "fleet-compat.postun")
	}
	c := b.contents(f, "fleet-compat")
	c.programAs("etcdctl-compat", etcdctl)
	c.file("hack/packages/fleet-compat.conf", "/usr/lib/systemd/system/fleetd.service.d/fleet-compat.conf", 0o644)
	c.manual("etcdctl-compat.1", func() ([]byte, error) { return b.manual("etcdctl-compat.1") })
	c.common("fleet-compat")
	info.Contents = c.list
	return info, c.err
}

// contents collects the files of one package, and the first error.
type contents struct {
	b     *build
	f     format
	stage string
	list  files.Contents
	// module is the directory of the programs' Go module, below the checkout.
	module string
	// programs are the names of those that are in it.
	programs []string
	err      error
}

func (b *build) contents(f format, name string) *contents {
	return &contents{b: b, f: f, stage: filepath.Join(b.stage, f.name, name)}
}

func (c *contents) failed(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *contents) add(source, path string, mode os.FileMode) *files.Content {
	content := &files.Content{Source: source, Destination: path, Type: files.TypeFile, FileInfo: &files.ContentFileInfo{
		Owner: "root", Group: "root", Mode: mode, MTime: c.b.commit,
	}}
	c.list = append(c.list, content)
	return content
}

func (c *contents) directory(path string) { c.add("", path, 0o755).Type = files.TypeDir }

// file is one of the checkout.
func (c *contents) file(source, path string, mode os.FileMode) {
	c.add(filepath.Join(c.b.top, source), path, mode)
}

func (c *contents) program(names ...string) {
	for _, name := range names {
		c.programAs(name, "/usr/bin/"+name)
	}
}

// programAs is a program at a path of its own.
func (c *contents) programAs(name, path string) {
	c.programs = append(c.programs, name)
	c.add(filepath.Join(c.b.programs, name), path, 0o755)
}

// generated is a file with this text.
func (c *contents) generated(path string, text []byte, mode os.FileMode) *files.Content {
	source := filepath.Join(c.stage, path)
	c.failed(os.MkdirAll(filepath.Dir(source), 0o755))
	c.failed(os.WriteFile(source, text, 0o644))
	return c.add(source, path, mode)
}

// unit is a file of manifests/. What is installed by hand is below /usr/local, what a package installs is not.
func (c *contents) unit(names ...string) {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(c.b.top, "manifests", name))
		c.failed(err)
		c.generated("/usr/lib/systemd/system/"+name, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/", "/usr/bin/")), 0o644)
	}
}

func (c *contents) manual(name string, page func() ([]byte, error)) {
	text, err := page()
	c.failed(err)
	zipped, err := zip(text)
	c.failed(err)
	c.generated(fmt.Sprintf("/usr/share/man/man%s/%s.gz", name[len(name)-1:], name), zipped, 0o644)
}

// common is what Debian and Red Hat expect in every package.
func (c *contents) common(name string) {
	licenses, err := c.b.licenses(c.module, c.programs)
	c.failed(err)
	zipped, err := zip(licenses)
	c.failed(err)
	c.generated(c.f.licenses+"/"+name+"/third-party-licenses.gz", zipped, 0o644)
	if c.f.name == "rpm" {
		c.file("LICENSE", c.f.licenses+"/"+name+"/LICENSE", 0o644)
		return
	}
	c.generated(c.f.licenses+"/"+name+"/copyright", copyright(), 0o644)
	changes, err := zip(changelog(name, c.b.version, c.b.commit))
	c.failed(err)
	c.generated("/usr/share/doc/"+name+"/changelog.gz", changes, 0o644)
	c.file("hack/packages/debian/"+name+".lintian-overrides", "/usr/share/lintian/overrides/"+name, 0o644)
}
