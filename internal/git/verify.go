package git

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// goodSignature is what ssh-keygen says of a valid one.
var goodSignature = regexp.MustCompile(`Good "git" signature for (\S+) with`)

// verify returns who signed a commit. An error says that none of the allowed signers did.
func (r *repository) verify(ctx context.Context, hash string, signers []string) (string, error) {
	file := filepath.Join(r.dir, "allowed-signers")
	if err := os.WriteFile(file, []byte(strings.Join(signers, "\n")+"\n"), 0o600); err != nil {
		return "", err
	}
	if err := r.git.own(file); err != nil {
		return "", err
	}
	c := &connection{config: [][2]string{{"gpg.format", "ssh"}, {"gpg.ssh.allowedSignersFile", file}, {"gpg.ssh.program", "ssh-keygen"}, {"gpg.program", "false"}}}
	// --raw writes the checker's words to stderr, and fails unless the signature is good and its key is in the file.
	said, err := r.stderrOf(ctx, c, "verify-commit", "--raw", hash)
	match := goodSignature.FindStringSubmatch(said)
	if err != nil || match == nil {
		return "", fail(NotSigned, "commit %s has no signature of verify.sshSigners: nothing of it is applied", v1.ShortHash(hash))
	}
	return Printable(match[1], 100), nil
}
