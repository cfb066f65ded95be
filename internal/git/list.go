package git

import (
	"bufio"
	"context"
	"io"
	"regexp"
	"strings"
)

// Reference is a branch or a tag of a repository.
type Reference struct {
	// Name is the full name, such as refs/heads/main; Hash is the commit, also for annotated tags.
	Name, Hash string
}

// maxListing is how much of a listing of references is read, in bytes: some 500,000 of them.
const maxListing = 32 << 20

var isHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// List returns the references that match one of the patterns, such as refs/heads/main or refs/tags/*, in the server's order.
func (g *Git) List(ctx context.Context, remote Remote, patterns ...string) ([]Reference, error) {
	r, err := g.open(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c, err := r.connect()
	defer c.close()
	if err != nil {
		return nil, err
	}
	var refs []Reference
	err = r.stream(ctx, g.Limits.List, c, nil, func(out io.Reader) error {
		refs, err = readReferences(out)
		return err
	}, append([]string{"ls-remote", "--quiet", "--", r.remote.URL}, patterns...)...)
	return refs, err
}

func readReferences(out io.Reader) ([]Reference, error) {
	limited := &io.LimitedReader{R: out, N: maxListing}
	lines := bufio.NewScanner(limited)
	var refs []Reference
	at := map[string]int{}
	for lines.Scan() {
		hash, name, ok := strings.Cut(lines.Text(), "\t")
		if !ok || !isHash.MatchString(hash) {
			continue
		}
		if tag, peeled := strings.CutSuffix(name, "^{}"); peeled { // the commit of an annotated tag, after the tag itself
			if i, known := at[tag]; known {
				refs[i].Hash = hash
			}
			continue
		}
		at[name] = len(refs)
		refs = append(refs, Reference{Name: name, Hash: hash})
	}
	if limited.N <= 0 {
		return nil, fail(TooLarge, "the server lists more than %d MiB of references", maxListing>>20)
	}
	if err := lines.Err(); err != nil {
		return nil, fail(Unreachable, "the server's list of references cannot be read: %v", err)
	}
	return refs, nil
}
