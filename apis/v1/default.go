package v1

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

const (
	defaultAnnounceTTL        = Duration(30 * time.Second)
	defaultProbeInterval      = Duration(5 * time.Second)
	defaultProbeTimeout       = Duration(2 * time.Second)
	defaultHealthyDeadline    = Duration(5 * time.Minute)
	defaultHealthyThreshold   = 1
	defaultUnhealthyThreshold = 3
)

// DefaultMinReady is how long an unannounced instance must be active before it counts as ready.
const DefaultMinReady = 5 * time.Second

// Default sets the fields that are unset. It is idempotent.
func (a *App) Default() {
	s := &a.Spec
	setDefault(&s.Description, a.Metadata.Name)
	if s.Replicas == nil && !s.Global {
		one := int32(1)
		s.Replicas = &one
	}
	if s.Container != nil {
		setDefault(&s.Container.Pull, PullAlways)
		setDefault(&s.Container.Runtime, RuntimeDocker)
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Port != 0 {
			setDefault(&p.Name, strconv.FormatInt(int64(p.Port), 10))
		}
		setDefault(&p.HostPort, HostPort(p.Port))
	}
	announced := ""
	if s.Announce != nil {
		setDefault(&s.Announce.Prefix, DefaultAnnouncePrefix)
		setDefault(&s.Announce.TTL, defaultAnnounceTTL)
		if len(s.Ports) > 0 {
			setDefault(&s.Announce.Port, s.Ports[0].Name)
		}
		announced = s.Announce.Port
	}
	if s.HealthCheck != nil {
		s.HealthCheck.setDefaults(announced)
	}
	if s.Release != nil {
		setDefault(&s.Release.Timeout, defaultReleaseTimeout)
	}
	if s.Update == nil {
		s.Update = &Update{}
	}
	setDefault(&s.Update.HealthyDeadline, defaultHealthyDeadline)
	if c := s.Update.Canary; c != nil {
		*c = c.Filled()
	}
	setDefault(&s.Update.MinReady, Duration(DefaultMinReady))
}

// Default sets the fields that the fleetd which stored the revision did not know, so that an old spec compares and
// behaves like one accepted today.
func (r *Revision) Default() {
	app := App{Metadata: r.Metadata, Spec: r.Spec}
	app.Default()
	r.Spec = app.Spec
}

// SameSpec reports whether two specs, with defaults set, are equal: whether their JSON is.
func SameSpec(a, b *AppSpec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func (h *HealthCheck) setDefaults(port string) {
	if h.HTTP != nil {
		setDefault(&h.HTTP.Path, "/")
		setDefault(&h.HTTP.Port, port)
	}
	if h.TCP != nil {
		setDefault(&h.TCP.Port, port)
	}
	setDefault(&h.Interval, defaultProbeInterval)
	setDefault(&h.Timeout, defaultProbeTimeout)
	setDefault(&h.HealthyThreshold, defaultHealthyThreshold)
	setDefault(&h.UnhealthyThreshold, defaultUnhealthyThreshold)
}

// Default sets the desired state: launched, or inactive for a template, which never runs itself.
func (u *Unit) Default() {
	state := Launched
	if strings.Contains(u.Metadata.Name, "@.") {
		state = Inactive
	}
	setDefault(&u.Spec.DesiredState, state)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// FindPort returns the port with that name or number.
func (s *AppSpec) FindPort(nameOrNumber string) (Port, bool) {
	for _, p := range s.Ports {
		if p.Name == nameOrNumber || p.Port != 0 && strconv.FormatInt(int64(p.Port), 10) == nameOrNumber {
			return p, true
		}
	}
	return Port{}, false
}

// Instances is the number of instances to run: replicas, or 1 (a single stored unit) for a global app.
func (s *AppSpec) Instances() int32 {
	switch {
	case s.Global:
		return 1
	case s.Replicas == nil:
		return 1
	}
	return *s.Replicas
}

// AnnouncePrefix is the etcd directory of the app's endpoints.
func (s *AppSpec) AnnouncePrefix() string {
	if s.Announce == nil || s.Announce.Prefix == "" {
		return DefaultAnnouncePrefix
	}
	return s.Announce.Prefix
}
