package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A name that several containers on one machine would have is refused, and no other.
func TestNamesOfContainers(t *testing.T) {
	for more, valid := range map[string]bool{
		"container: {image: a/b}\n  replicas: 3":                                                                   true,
		"container: {image: a/b, name: web}":                                                                       true,
		"container: {image: a/b, name: web}\n  global: true":                                                       true,
		"container: {image: a/b, name: web}\n  replicas: 3":                                                        false,
		"container: {image: a/b, name: web-%p}\n  replicas: 3":                                                     false,
		"container: {image: a/b, name: web-%i}\n  replicas: 3":                                                     true,
		"container: {image: a/b, name: x.%N}\n  replicas: 3":                                                       true,
		"container: {image: a/b, name: web}\n  replicas: 3\n  ports: [{port: 80}]":                                 true,
		"container: {image: a/b, name: web}\n  replicas: 3\n  placement: {conflicts: [db.service, web@*.service]}": true,
		"container: {image: a/b, name: web}\n  replicas: 3\n  placement: {conflicts: ['%p@*']}":                    true,
		"container: {image: a/b, name: web}\n  replicas: 3\n  placement: {conflicts: [db@*.service]}":              false,
	} {
		_, err := ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  " + more + "\n"))
		if valid {
			require.NoError(t, err, more)
		} else {
			require.ErrorContains(t, err, "spec.container.name", more)
		}
	}
}
