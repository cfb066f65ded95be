package source

import "github.com/fleet-starter/fleet/internal/repository"

// What a commit has is read by one package, for the leader and for fleetctl.
type (
	File      = repository.File
	Key       = repository.Key
	Object    = repository.Object
	Manifests = repository.Manifests
)
