package v1

// Explanation is why a unit is where it is, or on no machine.
type Explanation struct {
	Unit string `json:"unit"`
	// Machines are where it is; none: it has no machine.
	Machines []string `json:"machines,omitempty"`
	// Message is one line: why it is there, or why no machine fits.
	Message string `json:"message"`
	// Constraints are a smallest set that keeps it off every machine: without any one of them it would have one. They are empty
	// for a unit that has a machine, and where no constraint is the cause.
	Constraints []Constraint `json:"constraints,omitempty"`
	// Changes are a smallest change that gives it a machine; all of them are needed.
	Changes []Change `json:"changes,omitempty"`
	// Elsewhere are the machines where it is not, with every reason; More is how many are not listed.
	Elsewhere []NotThere `json:"elsewhere,omitempty"`
	More      int        `json:"more,omitempty"`
}

// NotThere is why a unit is not on a machine. Without a reason, it would fit there.
type NotThere struct {
	Machine string    `json:"machine"`
	Reasons []Refusal `json:"reasons,omitempty"`
}

// Constraint is what a unit's file asks for in one option, or the state of a machine.
type Constraint struct {
	// Unit is the unit whose file has the option; empty for the state of Machine.
	Unit    string `json:"unit,omitempty"`
	Machine string `json:"machine,omitempty"`
	// Option is an option of [X-Fleet], or the reason why the machine gets no units: Cordoned, Draining, Stuck, Machine.
	Option string `json:"option"`
	// Value is the option's value, with specifiers expanded: one of several, or for MachineMetadata all of one key.
	Value string `json:"value,omitempty"`
	// Object is the manifest or the unit file where it is written, Line the line there, Field the manifest's field. Line is 0
	// where it follows from other fields.
	Object string `json:"object,omitempty"`
	Line   int    `json:"line,omitempty"`
	Field  string `json:"field,omitempty"`
}

// Change is what to do about a constraint.
type Change struct {
	Constraint `json:",inline"`
	// To is the value to write instead; empty: the option is to be removed.
	To string `json:"to,omitempty"`
	// Message says it in words.
	Message string `json:"message"`
}
