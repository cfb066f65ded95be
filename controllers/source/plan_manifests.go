package source

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// What a commit has is read by one package, for the leader and for fleetctl.
type (
	File      = repository.File
	Key       = repository.Key
	Object    = repository.Object
	Manifests = repository.Manifests
)

// manifestsOf are those of a commit, of a preview its copies.
func manifestsOf(spec *v1.SourceSpec, commit v1.SourceCommit, files []File) *Manifests {
	m := repository.Read(commit, files)
	if spec.Preview != nil {
		return m.Preview(spec.Preview)
	}
	return m
}
