package wire

import v1 "github.com/fleet-starter/fleet/apis/v1"

// Source is a Source as the API shows it.
type Source struct {
	v1.Source
	// Manifest is the stored text of a manifest that cannot be read; the spec is empty then.
	Manifest string `json:"manifest,omitempty"`
	// Wish is what people have asked of it; nil: nothing.
	Wish *v1.SourceWish `json:"wish,omitempty"`
}

// SourceRequest is the body of POST /sources/NAME/wish: one of the actions below.
type SourceRequest struct {
	Action string `json:"action"`
	// AllowPrune, of sync: the newest commit that was refused may delete more than half of the objects.
	AllowPrune bool `json:"allowPrune,omitempty"`
	// Objects, of adopt and disown, such as app/web.
	Objects []string `json:"objects,omitempty"`
}

// The actions of a SourceRequest, besides Resume.
const (
	Sync    = "sync"
	Suspend = "suspend"
	Adopt   = "adopt"
	Disown  = "disown"
)

// What becomes of the objects of a source that is deleted: the values of ?objects=.
const (
	ObjectsKeep  = "keep"
	ObjectsPrune = "prune"
)
