package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// manifest is one document in a file.
type manifest struct {
	file string
	v1.Object
	// commit is what the file is of; nil: it is the one on the disk.
	commit *v1.SourceCommit
	// place is where it is in the commit.
	place string
}

// what returns kind/name, for messages.
func (m manifest) what() string {
	return strings.ToLower(m.Kind()) + "/" + m.Name()
}

// readManifests reads all documents of the files and directories. Faults are reported one per line, and counted.
func (a *app) readManifests(paths []string, recursive bool) (all []manifest, faults int, err error) {
	files, err := manifestFiles(paths, recursive)
	if err != nil {
		return nil, 0, err
	}
	first := map[string]manifest{}
	for _, file := range files {
		text, err := a.readFile(file)
		if err != nil {
			return nil, 0, err
		}
		objects, err := v1.ParseManifests(text)
		faults += a.tellFaults(file, 0, err)
		for _, object := range objects {
			m := manifest{file: file, Object: object}
			if other, twice := first[m.what()]; twice {
				a.note("%s:%d: duplicate %s: first defined in %s:%d", file, m.Line, m.what(), other.file, other.Line)
				faults++
			}
			first[m.what()] = m
			all = append(all, m)
		}
	}
	if faults == 0 && len(all) == 0 {
		return nil, 0, fmt.Errorf("%v: no App, Unit or Source found", paths)
	}
	return all, faults, nil
}

func (a *app) readFile(file string) ([]byte, error) {
	if file != stdin {
		return os.ReadFile(file)
	}
	return io.ReadAll(io.LimitReader(a.In, wire.MaxBody*64))
}

// stdin is the name of standard input in messages.
const stdin = "stdin"

// manifestFiles returns the files of the paths, sorted: for a directory its .yaml, .yml and .json files. Hidden files,
// such as .git or an editor's backup, are skipped unless named explicitly.
func manifestFiles(paths []string, recursive bool) ([]string, error) {
	var files []string
	for _, path := range paths {
		if path == "-" {
			files = append(files, stdin)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && file != path && (!recursive || hidden(d)):
				return filepath.SkipDir
			case !d.IsDir() && !hidden(d) && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)):
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%v: no .yaml, .yml or .json file found (hidden files are skipped; -R includes subdirectories)", paths)
	}
	return files, nil
}

func hidden(d fs.DirEntry) bool { return strings.HasPrefix(d.Name(), ".") }

// tellFaults writes "file:line: field: message" for every fault in err and returns their number. offset is the number
// of lines before the document.
func (a *app) tellFaults(file string, offset int, err error) int {
	var errs v1.ManifestErrors
	var status *wire.Status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errs):
		for _, e := range errs {
			a.tellCause(file, offset, wire.Cause{Line: e.Line, Field: e.Field, Message: e.Message})
		}
		return errs.Count()
	case errors.As(err, &status) && len(status.Causes) > 0:
		for _, c := range status.Causes {
			a.tellCause(file, offset, c)
		}
		return wire.Count(status.Causes)
	}
	a.tellCause(file, offset, wire.Cause{Message: err.Error()})
	return 1
}

func (a *app) tellWarnings(file string, warnings []wire.Cause) {
	for _, c := range warnings {
		c.Message = "warning: " + c.Message
		a.tellCause(file, 0, c)
	}
}

func (a *app) tellCause(file string, offset int, c wire.Cause) {
	if c.Line > 0 {
		file = fmt.Sprintf("%s:%d", file, c.Line+offset)
	}
	c.Line = 0
	a.note("%s: %s", file, c)
}
