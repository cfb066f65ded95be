package importer

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// announcement is what a sidekick writes.
type announcement struct {
	line       int
	key, value string
	ttl        time.Duration
}

var (
	sets = regexp.MustCompile(`etcdctl(?:\s+-\S+(?:[ =]\S+:\d+)?)*\s+set\s+(?:--ttl[ =](\d+)\s+)?["']?([^\s"']+)["']?\s+(.+?)(?:\s+--ttl[ =](\d+))?\s*(?:;|&&|\|\||$|\sdone)`)
	port = regexp.MustCompile(`:(\d+)\D*$`)
)

// pair finds the sidekicks: units that set a key in a loop and belong to another unit of the files.
func pair(sources []*source) {
	for _, s := range sources {
		a, ok := s.announcing()
		if !ok {
			continue
		}
		related := slices.Concat(s.fleet.MachineOf, s.file.Values("Unit", "BindsTo"))
		for _, target := range sources {
			if target != s && target.sidekick == nil && slices.ContainsFunc(related, func(name string) bool {
				return strings.NewReplacer("@%i.", "@.", "@1.", "@.").Replace(name) == strings.NewReplacer("@1.", "@.").Replace(target.name.Full)
			}) {
				s.announces, s.announcement, target.sidekick = target, a, s
				break
			}
		}
	}
}

// announcing reads the loop of a sidekick.
func (s *source) announcing() (a announcement, ok bool) {
	for _, o := range s.file.Options() {
		if o.Section != "Service" || o.Name != "ExecStart" {
			continue
		}
		m := sets.FindStringSubmatch(strings.Join(command(o.Value), " "))
		if m == nil {
			continue
		}
		seconds, _ := strconv.Atoi(m[1] + m[4])
		return announcement{o.Line, m[2], strings.Trim(m[3], `"'\`), time.Duration(seconds) * time.Second}, true
	}
	return a, false
}

// announce turns the sidekick into the app's announce; false if it cannot, and stays a unit.
func (s *source) announce(app *v1.App) bool {
	k := s.sidekick
	a := k.announcement
	if !s.announcePort(app, k, a) {
		return false
	}
	want := path.Join(path.Dir(path.Dir(a.key)), s.app)
	switch instance := path.Base(a.key); {
	case path.Dir(a.key) == want && strings.HasPrefix(want, "/") && (instance == s.app+"@%i" || instance == s.app) && path.Dir(want) != "/":
		app.Spec.Announce.Prefix = path.Dir(want)
	default:
		k.note(a.line, "the key %s becomes %s/%s/%s@N: change templates and scripts that read it", a.key, v1.DefaultAnnouncePrefix, s.app, s.app)
	}
	if app.Spec.Announce.Prefix == v1.DefaultAnnouncePrefix {
		app.Spec.Announce.Prefix = ""
	}
	switch {
	case a.ttl == 0:
		k.note(a.line, "the key had no --ttl: it is announced for as long as the app is healthy")
	case a.ttl < 5*time.Second:
		k.note(a.line, "--ttl %d becomes 5s, the least there is", int(a.ttl.Seconds()))
		app.Spec.Announce.TTL = v1.Duration(5 * time.Second)
	default:
		app.Spec.Announce.TTL = v1.Duration(a.ttl)
	}
	if strings.Contains(k.Text, "curl") || strings.Contains(k.Text, "nc ") {
		k.note(a.line, "its own check is not carried over: set spec.healthCheck; without it the port must accept connections")
	}
	for _, o := range k.file.Options() {
		switch {
		case o.Section == "X-Fleet" && !slices.Contains([]string{"MachineOf", "X-ConditionMachineOf"}, o.Name):
			k.note(o.Line, "%s= of the sidekick is not carried over: it runs where its app does", o.Name)
		case o.Section == "Service" && strings.HasPrefix(o.Name, "Exec") && o.Line != a.line && !strings.Contains(o.Value, "etcdctl rm"):
			k.note(o.Line, "%s= of the sidekick is not carried over: the announcer takes its place", o.Name)
		}
	}
	return true
}

// announcePort sets the port; false if none is known.
func (s *source) announcePort(app *v1.App, k *source, a announcement) bool {
	n := 0
	if m := port.FindStringSubmatch(a.value); m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	known := n > 0 && n < 65536
	if !known && len(app.Spec.Ports) == 0 {
		k.note(a.line, "the value %s names no port, and the unit publishes none: set spec.ports and spec.announce, and remove this unit", a.value)
		return false
	}
	app.Spec.Announce = &v1.Announce{}
	if !known {
		k.note(a.line, "the value %s names no port: the first of spec.ports is announced; set announce.port where it is another", a.value)
		return true
	}
	i := slices.IndexFunc(app.Spec.Ports, func(p v1.Port) bool { return int(p.HostPort) == n || p.HostPort == 0 && int(p.Port) == n })
	if i < 0 {
		app.Spec.Ports = append(app.Spec.Ports, v1.Port{Port: int32(n)})
		i = len(app.Spec.Ports) - 1
		if app.Spec.Container != nil {
			k.note(a.line, "port %d is announced, and no -p of docker run publishes it: it does now, as %d:%d", n, n, n)
		}
	}
	if i > 0 {
		app.Spec.Announce.Port = strconv.Itoa(int(app.Spec.Ports[i].Port))
	}
	return true
}
