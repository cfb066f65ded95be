package v1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSourceManifests: what a source may say, and what is refused, with the line and the field.
func TestSourceManifests(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n"
	source, err := ParseSource("prod", []byte(head+"  git: {url: https://example.com/a.git}\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"refs/heads/main", "30s"}, []string{source.Spec.Git.Reference(), source.Spec.Interval.String()})
	for name, text := range map[string]string{
		"ssh":       "  git: {url: git@example.com:team/a.git, branch: release/1.x, path: clusters/prod}\n  auth: {sshKeyFile: /etc/fleet/key, knownHostsFile: /etc/fleet/known}\n",
		"a tag":     "  git: {url: https://example.com/a.git, tag: v1.2.3}\n  auth: {tokenFile: /etc/fleet/token, caFile: /etc/fleet/ca}\n",
		"a range":   "  git: {url: https://example.com/a.git, semver: '>=1.2 <2'}\n",
		"a commit":  "  git: {url: https://example.com/a.git, commit: 0123456789012345678901234567890123456789}\n",
		"signers":   "  git: {url: https://example.com/a.git}\n  verify: {sshSigners: [ada@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5]}\n",
		"a webhook": "  git: {url: https://example.com/a.git}\n  webhook: {secretFile: /etc/fleet/secret}\n  dependsOn: [db]\n  prune: true\n  suspend: true\n",
	} {
		_, err := ParseSource("prod", []byte(head+text))
		require.NoError(t, err, name)
	}
	const git = "  git: {url: https://example.com/a.git}\n"
	for text, says := range map[string]string{
		"  interval: 30s\n":                                                  "line 4: spec.git.url: no URL",
		"  git: {url: 'ext::sh -c x'}\n":                                     "line 5: spec.git.url: the URL",
		"  git: {url: https://ada:geheim@example.com/a.git}\n":               "line 5: spec.git.url: the URL has credentials",
		"  git: {url: https://example.com/a.git, branch: a, tag: b}\n":       "line 5: spec.git: has more than one of branch, tag, semver and commit",
		"  git: {url: https://example.com/a.git, branch: --upload-pack=x}\n": "line 5: spec.git.branch: ",
		"  git: {url: https://example.com/a.git, branch: a..b}\n":            "line 5: spec.git.branch: ",
		"  git: {url: https://example.com/a.git, tag: 'a b'}\n":              "line 5: spec.git.tag: ",
		"  git: {url: https://example.com/a.git, commit: abc}\n":             "is not a full hash",
		"  git: {url: https://example.com/a.git, semver: latest}\n":          `line 5: spec.git.semver: "latest" is not a range of versions: write one such as ">=1.2 <2"`,
		"  git: {url: https://example.com/a.git, semver: '*', tag: v1}\n":    "line 5: spec.git: has more than one of branch, tag, semver and commit",
		"  git: {url: https://example.com/a.git, path: ../x}\n":              "leads out of the repository",
		"  git: {url: https://example.com/a.git, path: /x}\n":                "is not a path in the repository",
		"  git: {url: https://example.com/a.git, path: .git/x}\n":            "line 5: spec.git.path: ",
		git + "  interval: 1s\n":                                             "line 6: spec.interval: 1s is out of range",
		git + "  auth: {tokenFile: geheim}\n":                                "line 6: spec.auth.tokenFile: is not the absolute path of a file",
		git + "  auth: {sshKeyFile: /k, knownHostsFile: /h}\n":               "line 6: spec.auth.sshKeyFile: is of no use to this URL",
		"  git: {url: git@example.com:a}\n  auth: {sshKeyFile: /k}\n":        "line 6: spec.auth.knownHostsFile: missing",
		git + "  webhook: {secretFile: geheim}\n":                            "line 6: spec.webhook.secretFile: is not the absolute path",
		git + "  verify: {}\n":                                               "line 6: spec.verify.sshSigners: missing",
		git + "  verify: {sshSigners: [x]}\n":                                "is not a line of an allowed signers file",
		git + "  dependsOn: [prod]\n":                                        "line 6: spec.dependsOn[0]: a source cannot wait for itself",
		git + "  dependsOn: [a, a]\n":                                        "line 6: spec.dependsOn[1]: a is already in the list",
		git + "  prune: yes\n":                                               "line 6: spec.prune: expected true or false",
		git + "  kustomize: {}\n":                                            "line 6: spec.kustomize: unknown field",
	} {
		_, err := ParseSource("prod", []byte(head+text))
		require.Error(t, err, text)
		require.Contains(t, err.Error(), says, text)
		if !strings.Contains(text, "ada:") {
			continue
		}
		require.NotContains(t, err.Error(), "geheim")
	}
	_, err = ParseSource("stage", []byte(head+git))
	require.ErrorContains(t, err, `"prod" does not match the name "stage"`)
	_, err = ParseApp([]byte(head + git))
	require.ErrorContains(t, err, "unknown kind")
}
