package hostile

import (
	"fmt"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// below puts keys of a stranger below one of our prefixes.
func below(prefix string, values ...string) hostile {
	return hostile{"strangers below " + prefix, func(l *lab) {
		if len(values) == 0 {
			values = []string{"", "{", "null", "[]", `{"a":1}`, "\x00\xff", `{"spec":{"replicas":"x"}}`, strings.Repeat("[", 100_000), bomb(), `{} trailing`}
		}
		for i, value := range values {
			for _, name := range []string{"stranger%d", "stranger%d.service", "m1/stranger%d.service", "stranger%d/stranger.service", "stranger/a/b%d", "stranger/%010d", "/%d", "../stranger%d", "stranger\n%d", machine + "/%d"} {
				l.raw(prefix+fmt.Sprintf(name, i), value)
			}
		}
	}, nil}
}

// named is below for rows where something says so, by the key.
func named(prefix string, values ...string) hostile {
	c := below(prefix, values...)
	c.says = []string{prefix + "stranger"}
	return c
}

var strangers = []hostile{
	below(keys.Apps().Prefix()), below(keys.UnitFiles().Prefix()), // each is an app of its own, with a status, or unused
	named(keys.Units().Prefix()), named(keys.Revisions().Prefix()), named(keys.Machines().Prefix()),
	named(keys.MachineConfigs().Prefix()), named(keys.Overrides().Prefix()), named(keys.Placements().Prefix()), named(keys.Unplaced().Prefix()),
	named(keys.States().Prefix()), named(keys.Status().Prefix()), named(keys.Routers().Prefix()),
	below(keys.Events().Prefix()), below(keys.Root() + "leaders/"), below(keys.Leader("engine") + "/"), below(keys.Root()), below(keys.Root() + "unknown/"),
	below("/services/web/", "", "x", "; } server {", "10.0.0.1:99999", "10.0.0.1:80\nserver evil:80", strings.Repeat("x", 1_000_000)), // what routers make of them: controllers/route
	{"broken JSON in place of what is ours", func(l *lab) {
		l.unit("victim.service", sleeping)
		l.raw(keys.Placements().Key(machine+"/victim.service"), "{")
		l.raw(keys.States().Key(machine+"/victim.service"), "{")
		l.raw(keys.Unplaced().Key("victim.service"), "{")
		l.raw(keys.Overrides().Key("victim.service"), "{")
		l.raw(keys.MachineConfigs().Key(machine), "{")
		l.raw(keys.Status().Key("canary"), "{")
	}, []string{"machineconfig/m1"}},
	{"a router that never serves anything", func(l *lab) {
		l.raw(keys.Routers().Key("stranger"), `{"revision":1,"digest":"x"}`)
		l.raw("/services/web/routed/routed@1", "10.0.0.1:3001")
		l.apply(app("routed", "ports: [{port: 3001}]", "announce: {}"))
		l.await("routed is ready", func() string { return l.notReady("routed") })
		l.apply(app("routed", "replicas: 0", "ports: [{port: 3001}]", "announce: {}"))
		l.delete("/services/web/routed/routed@1")
		l.await("routed is gone", func() string {
			if left := l.list(keys.Units().Prefix() + "routed"); len(left) > 0 {
				return fmt.Sprint(left)
			}
			return ""
		})
	}, []string{"routers/stranger"}},
	{"a placement on a machine that does not exist", func(l *lab) {
		l.unit("wanted.service", sleeping)
		l.raw(keys.Placements().Key("nowhere/wanted.service"), `{"hash":"`+unitfile.Hash(sleeping)+`","desiredState":"launched"}`)
	}, []string{"/states/m1/wanted.service", "wanted.service"}},
	{"a placement of a unit that does not exist", func(l *lab) {
		l.raw(keys.Placements().Key(machine+"/ghost.service"), `{"hash":"`+unitfile.Hash("ghost")+`","desiredState":"launched"}`)
	}, []string{"ghost.service"}},
	{"a state of a machine and of a unit that do not exist", func(l *lab) {
		l.raw(keys.States().Key("nowhere/canary@1.service"), `{"activeState":"active"}`)
		l.raw(keys.States().Key(machine+"/ghost.service"), `{"activeState":"active"}`)
	}, nil},
	{"a unit that says it is the bystander's", func(l *lab) {
		l.raw(keys.Units().Key("stranger.service"), `{"metadata":{"owner":"bystander"},"spec":{"hash":"x","desiredState":"launched"}}`)
	}, []string{"stranger.service"}},
	{"a unit of an app that does not exist", func(l *lab) {
		l.raw(keys.Units().Key("orphan@1.service"), `{"metadata":{"owner":"orphan"},"spec":{"hash":"x","desiredState":"launched"}}`)
	}, nil},
}

var revisions = []hostile{
	{"revisions deleted by hand", func(l *lab) {
		for key := range l.list(keys.Revisions().Prefix() + "canary/") {
			l.delete(key)
		}
	}, nil},
	{"revisions and files deleted by hand", func(l *lab) {
		for key := range l.list(keys.Revisions().Prefix() + "canary/") {
			l.delete(key)
		}
		for key, kv := range l.list(keys.UnitFiles().Prefix()) {
			if strings.Contains(string(kv.Value), "CHANGE") {
				l.delete(key)
			}
		}
	}, nil},
	{"a revision where the next one would be", func(l *lab) {
		for n := range 20 {
			key := keys.Revisions().Key(fmt.Sprintf("canary/%010d", n))
			if _, there := l.list(key)[key]; !there {
				l.raw(key, "{")
			}
		}
	}, []string{"revisions/canary/"}},
	{"revisions of other numbers and names", func(l *lab) {
		l.raw(keys.Revisions().Key("canary/9999999999"), `{}`)
		l.raw(keys.Revisions().Key("canary/zzz"), `{"number":7}`)
		l.raw(keys.Revisions().Key("canary/zzz/0000000001"), `{"number":1}`)
		for n := range 12 {
			l.raw(keys.Revisions().Key(fmt.Sprintf("canary/zzz%d", n)), `{}`)
		}
	}, []string{"revisions/canary/zzz"}},
	{"a file of the canary is another text", func(l *lab) {
		for key, kv := range l.list(keys.UnitFiles().Prefix()) {
			if strings.Contains(string(kv.Value), "CHANGE") {
				l.raw(key, sleeping)
			}
		}
	}, nil},
}
