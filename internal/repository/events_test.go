package repository

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestEvents: with a source and without one, an app is told of the same commit in the same words.
func TestEvents(t *testing.T) {
	commit := &v1.SourceCommit{Hash: "25488a0d68000000000000000000000000000000", Author: "Ada", Subject: "Say bye"}
	changes := []Change{
		{Key{v1.KindApp, "bye"}, "Created", "prod/bye.yaml:1"},
		{Key{v1.KindSource, "other"}, "Configured", "prod/other.yaml:1"},
		{Key{v1.KindApp, "old"}, "Pruned", ""},
	}
	for name, tt := range map[string]struct {
		source string
		want   []string
	}{
		"of a source": {"shop", []string{
			"source/shop Created app/bye: commit 25488a0d68 by Ada: Say bye",
			"app/bye Created source/shop, prod/bye.yaml:1: commit 25488a0d68 by Ada: Say bye",
			"source/shop Configured source/other: commit 25488a0d68 by Ada: Say bye",
			"source/shop Pruned app/old: commit 25488a0d68 by Ada: Say bye",
			"app/old Pruned source/shop: commit 25488a0d68 by Ada: Say bye",
		}},
		"without one": {"", []string{
			"app/bye Created prod/bye.yaml:1: commit 25488a0d68 by Ada: Say bye",
			"source/other Configured prod/other.yaml:1: commit 25488a0d68 by Ada: Say bye",
			"app/old Pruned commit 25488a0d68 by Ada: Say bye",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			for _, e := range Events(commit, tt.source, changes) {
				require.Equal(t, v1.EventNormal, e.Type)
				told = append(told, Key{e.Kind, e.Name}.String()+" "+e.Reason+" "+e.Message)
			}
			require.Equal(t, tt.want, told)
		})
	}
}
