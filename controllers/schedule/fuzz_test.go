package schedule

import (
	"testing"

	"pgregory.net/rapid"
)

// FuzzSafety is TestSafety with worlds and disturbances guided by coverage.
func FuzzSafety(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { safety(t, false) }))
}

// FuzzReplacing is FuzzSafety with units that replace others.
func FuzzReplacing(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { safety(t, true) }))
}
