package wire

// TraceStep is one step of the way from a commit to the requests that a unit gets.
type TraceStep struct {
	// Step is one of the constants below.
	Step string `json:"step"`
	// Key is the key in etcd, Revision the etcd revision of its last change; 0 if there is none, as for a commit.
	Key      string `json:"key,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	// Text is what it is, in one line.
	Text string `json:"text"`
}

// The steps of a trace, in order.
const (
	TraceCommit    = "commit"
	TraceManifest  = "manifest"
	TraceRevision  = "revision"
	TraceUnitFile  = "unit file"
	TraceUnit      = "unit"
	TracePlacement = "placement"
	TraceProcess   = "process"
	TraceEndpoint  = "endpoint"
	TraceRouter    = "router"
)
