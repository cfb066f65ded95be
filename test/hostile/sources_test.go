package hostile

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/git"
)

// emptyRepository is every repository: one commit without manifests.
type emptyRepository struct{ source.Repositories }

func (emptyRepository) Newest(context.Context, *v1.SourceSpec) (source.Head, error) {
	return source.Head{Hash: strings.Repeat("1", 40)}, nil
}

func (emptyRepository) Read(_ context.Context, _ *v1.SourceSpec, head source.Head) (v1.SourceCommit, []source.File, error) {
	return v1.SourceCommit{Hash: head.Hash, Subject: "Empty"}, nil, nil
}

func (emptyRepository) Reason(err error) string { return git.ReasonOf(err) }

func sourceManifest(name, url string, spec ...string) string {
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: %s}\nspec:\n  git: {url: %q}\n  %s\n", name, url, strings.Join(spec, "\n  "))
}

// badSource is a source put with etcdctl, past the API: its status says what is wrong, and the others' sources and apps go on.
func badSource(title, name, text string, texts ...string) hostile {
	return hostile{title, func(l *lab) { l.raw(keys.Sources().Key(name), text) },
		one(append([]string{keys.SourceStatus().Key(name) + " ", "InvalidManifest"}, texts...)...)}
}

const anyURL = "https://example.com/a.git"

var sources = []hostile{
	badSource("a source of broken YAML", "brokensource", "kind: Source\n  x: [", "not YAML"),
	badSource("a source of nothing", "nosource", "\n", "the manifest is empty"),
	badSource("a source that is no text", "bytesource", "\xff\xfe\x00\x01", "expected a mapping"),
	badSource("a source of aliases of aliases", "bombsource", bomb(), "kind"),
	badSource("a source of another kind", "kindsource", app("kindsource"), "kind"),
	badSource("a source of another name", "namesource", sourceManifest("other", anyURL), "metadata.name", "does not match"),
	badSource("a source as large as etcd takes", "largesource", sourceManifest("largesource", anyURL, "x: "+strings.Repeat("x", 1_200_000)), "bytes, the limit is"),
	badSource("a source that runs a program", "extsource", sourceManifest("extsource", "ext::sh -c touch% /tmp/x"), "spec.git.url"),
	badSource("a source with an option for a URL", "optionsource", sourceManifest("optionsource", "--upload-pack=/bin/sh"), "spec.git.url"),
	badSource("a source out of its repository", "pathsource", strings.Replace(sourceManifest("pathsource", anyURL), "a.git\"", "a.git\", path: ../..", 1), "spec.git.path"),
	badSource("a source of a range that is none", "rangesource", strings.Replace(sourceManifest("rangesource", anyURL), "a.git\"", "a.git\", semver: latest", 1), "spec.git.semver"),
	badSource("a source with a secret for a file", "secretsource", sourceManifest("secretsource", anyURL, "auth: {tokenFile: geheim}"), "spec.auth.tokenFile"),
	badSource("a source that looks without a pause", "busysource", sourceManifest("busysource", anyURL, "interval: 1ms"), "spec.interval"),
	badSource("a source that waits for 100,000 others", "waitingsource", sourceManifest("waitingsource", anyURL, "dependsOn: ["+strings.Repeat("waitingsource, ", 100_000)+"a]"), "bytes, the limit is"),
}
