package daemon

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// coreosVariables are those that CoreOS kept in /etc/environment, where unit files of its time read them.
var coreosVariables = []string{"COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4"}

// provideCoreOS keeps the machine's address in a file that has other lines, too: those stay. A file that is right already is not
// written.
func provideCoreOS(file, address string) error {
	if file == "" {
		return nil
	}
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := withCoreOS(string(before), address)
	if text == string(before) {
		return nil
	}
	return atomicfile.Replace(file, []byte(text), 0o644, atomicfile.Power)
}

func withCoreOS(text, address string) string {
	var b strings.Builder
	left := map[string]bool{}
	for line := range strings.Lines(text) {
		name, _, assigned := strings.Cut(line, "=")
		for _, variable := range coreosVariables {
			if assigned && name == variable {
				line, left[variable] = variable+"="+address+"\n", true
			}
		}
		b.WriteString(line)
	}
	if text != "" && !strings.HasSuffix(b.String(), "\n") {
		b.WriteByte('\n')
	}
	for _, variable := range coreosVariables {
		if !left[variable] {
			b.WriteString(variable + "=" + address + "\n")
		}
	}
	return b.String()
}
