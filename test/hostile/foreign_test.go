package hostile

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// below puts foreign keys below one of our prefixes, with broken JSON and worse, and requires the given reports.
func below(prefix string, says ...string) hostile {
	return hostile{"foreign keys below " + prefix, func(l *lab) {
		values := []string{"", "{", "null", "[]", `{"a":1}`, "\x00\xff", `{"spec":{"replicas":"x"}}`, strings.Repeat("[", 100_000), bomb(), `{} trailing`}
		if !strings.HasPrefix(prefix, keys.Root()) {
			values = []string{"", "x", "; } server {", "10.0.0.1:99999", "10.0.0.1:80\nserver evil:80", strings.Repeat("x", 1_000_000)}
		}
		var groups []store.Group
		for i, value := range values {
			for _, name := range []string{"foreign%d", "foreign%d.service", "m1/foreign%d.service", "foreign%d/foreign.service", "foreign/a/b%d", "foreign/%010d", "/%d", "../foreign%d", "foreign\n%d", machine + "/%d"} {
				groups = append(groups, store.Group{{Key: prefix + fmt.Sprintf(name, i), Value: []byte(value)}})
				value = value[:min(len(value), 1000)] // one large value is enough: repeated reads would take this test's time
			}
		}
		for _, length := range []int{1100, 100_000} {
			groups = append(groups, store.Group{{Key: prefix + strings.Repeat("0", length), Value: []byte("{}")}})
		}
		_, err := store.LastRevision(store.Write(l.t.Context(), l.store, groups, store.Fence{}))
		require.NoError(l.t, err)
	}, apart(says...)}
}

// event matches an event about a key with that prefix, exactly one about that very key.
func event(key string) string   { return `"kind":"Key","name":"` + key }
func exactly(key string) string { return event(key) + `",` }

// ignored is below for rows where events name the unreadable and overlong keys.
func ignored(row interface{ Prefix() string }) hostile { return ignoredBelow(row.Prefix()) }

func ignoredBelow(prefix string) hostile {
	return below(prefix, event(prefix+"foreign"), event(prefix+"0000"))
}

var foreigns = []hostile{
	below(keys.Apps().Prefix(), keys.Status().Key("foreign0")+" ", event(keys.Apps().Prefix()+"0000")), // each is an app with its own status
	below(keys.UnitFiles().Prefix(), event(keys.UnitFiles().Prefix()+"0000")),                          // unused: collect deletes them
	ignored(keys.Units()), ignored(keys.Revisions()), ignored(keys.Applies()), ignored(keys.Machines()), ignored(keys.MachineConfigs()), ignored(keys.Overrides()),
	below(keys.Sources().Prefix(), keys.SourceStatus().Key("foreign0")+" ", event(keys.Sources().Prefix()+"0000")),
	ignored(keys.SourceStatus()), ignored(keys.SourceWishes()),
	ignored(keys.Placements()), ignored(keys.Unplaced()), ignored(keys.States()), ignored(keys.Status()), ignored(keys.Routers()), ignored(keys.Routes()),
	below(keys.Events().Prefix(), keys.Events().Prefix()+"foreign"), // TestEventsAreSelectedByObject in internal/api tests what is listed
	{"foreign keys below the leader's prefix", func(l *lab) {
		elected := l.list(keys.Leader("engine") + "/")
		below(keys.Leader("engine") + "/").do(l)
		for key := range elected {
			l.delete(key) // the leader campaigns again, behind all of them
		}
	}, apart(`"reason"="NoLease" "key"="`+keys.Leader("engine")+"/foreign", event(keys.Leader("engine")+"/foreign"), event(keys.Leader("engine")+"/0000"))},
	ignoredBelow(keys.Leaders().Prefix()), ignoredBelow(keys.Root()), ignoredBelow(keys.Root() + "unknown/"), // those of a newer fleetd
	below("/services/web/", event("/services/web/0000")), // TestRouter tests the others
	{"broken JSON in place of what is ours", func(l *lab) {
		l.unit("victim.service", sleeping)
		l.raw(keys.Placements().Key(machine+"/victim.service"), "{")
		l.raw(keys.States().Key(machine+"/victim.service"), "{")
		l.raw(keys.Unplaced().Key("victim.service"), "{")
		l.raw(keys.Overrides().Key("victim.service"), "{")
		l.raw(keys.MachineConfigs().Key(machine), "{")
		l.raw(keys.Status().Key("canary"), "{")
	}, apart(exactly(keys.MachineConfigs().Key(machine)), exactly(keys.Placements().Key(machine+"/victim.service")), exactly(keys.States().Key(machine+"/victim.service")),
		exactly(keys.Overrides().Key("victim.service")), exactly(keys.Status().Key("canary")))},
	{"a router that never serves anything", func(l *lab) {
		l.raw(keys.Routers().Key("foreign"), `{"revision":1,"digest":"x"}`)
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
	}, apart(exactly(keys.Routers().Key("foreign")))},
	{"a placement on a machine that does not exist", func(l *lab) {
		l.unit("wanted.service", sleeping)
		l.raw(keys.Placements().Key("nowhere/wanted.service"), `{"hash":"`+unitfile.Hash(sleeping)+`","desiredState":"launched"}`)
	}, [][]string{{"/states/m1/wanted.service ", running}, {`"name":"wanted.service"`, "nowhere"}}},
	{"a placement of a unit that does not exist", func(l *lab) {
		l.raw(keys.Placements().Key(machine+"/ghost.service"), `{"hash":"`+unitfile.Hash("ghost")+`","desiredState":"launched"}`)
	}, one(`"name":"ghost.service"`, "taken off m1: the unit does not exist")},
	{"a state of a machine and of a unit that do not exist", func(l *lab) { // TestForeignKeysAreCollected tests the events
		l.raw(keys.States().Key("nowhere/canary@1.service"), `{"activeState":"active"}`)
		l.raw(keys.States().Key(machine+"/ghost.service"), `{"activeState":"active"}`)
	}, nil},
	{"a state and a placement without a machine, and with one too many", func(l *lab) {
		for _, name := range []string{"canary@1.service", "m1/m1/canary@1.service"} {
			l.raw(keys.States().Key(name), `{"activeState":"active"}`)
			l.raw(keys.Placements().Key(name), `{"hash":"`+unitfile.Hash(sleeping)+`","desiredState":"launched"}`)
		}
	}, apart(exactly(keys.States().Key("canary@1.service")), exactly(keys.Placements().Key("canary@1.service")),
		exactly(keys.States().Key("m1/m1/canary@1.service")), exactly(keys.Placements().Key("m1/m1/canary@1.service")))},
	{"a unit that says it is the bystander's", func(l *lab) {
		l.raw(keys.Units().Key("impostor.service"), `{"metadata":{"owner":"bystander"},"spec":{"hash":"x","desiredState":"launched"}}`)
	}, one("/unplaced/impostor.service ", "its unit file x is not stored")},
	{"a unit of an app that does not exist", func(l *lab) {
		l.raw(keys.Units().Key("orphan@1.service"), `{"metadata":{"owner":"orphan"},"spec":{"hash":"x","desiredState":"launched"}}`)
	}, apart(`"reason"="AppDeleted" "unit"="orphan@1.service"`)},
}

var revisions = []hostile{
	{"revisions deleted by hand", func(l *lab) {
		for key := range l.list(keys.Revisions().Prefix() + "canary/") {
			l.delete(key)
		}
		l.await("there is one again", func() string {
			if len(l.list(keys.Revisions().Prefix()+"canary/")) > 0 {
				return ""
			}
			return "none"
		})
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
	{"an app deleted, and at once one of its name that is refused", func(l *lab) {
		l.apply(app("again"))
		l.await("the app runs", func() string { return l.notReady("again") })
		l.delete(keys.Apps().Key("again"))
		l.raw(keys.Apps().Key("again"), "apiVersion: fleet/v1\nkind: App\nmetadata: {name: again}\nspec: {replicas: two}\n")
		l.await("nothing of the deleted one runs", func() string {
			if len(l.list(keys.Units().Prefix()+"again@")) == 0 && len(l.list(keys.Placements().Key(machine+"/again@"))) == 0 {
				return ""
			}
			return l.tail()
		})
	}, one("/status/again ", "spec.replicas")},
	{"a revision of a deleted app, and one of its name that is refused", func(l *lab) {
		deleted := l.raw(keys.Apps().Key("former"), app("former"))
		l.delete(keys.Apps().Key("former"))
		l.raw(keys.Revisions().Key("former/0000000009"), fmt.Sprintf(`{"number":9,"appUID":%d,"manifestRevision":%d,"spec":{"replicas":1,"exec":{"command":["/bin/sleep","infinity"]}}}`, deleted, deleted))
		l.raw(keys.Apps().Key("former"), "nothing that can be read")
		time.Sleep(time.Second)
		require.Empty(l.t, l.list(keys.Units().Prefix()+"former@"))
	}, one("/status/former ", "expected a mapping")},
	{"a revision where the next one would be", func(l *lab) {
		for n := range 20 {
			key := keys.Revisions().Key(fmt.Sprintf("canary/%010d", n))
			if _, there := l.list(key)[key]; !there {
				l.raw(key, "{")
			}
		}
	}, apart(exactly(keys.Revisions().Key("canary/0000000000")), exactly(keys.Revisions().Key("canary/0000000019")))},
	{"revisions of other numbers and names", func(l *lab) {
		l.raw(keys.Revisions().Key("canary/9999999999"), `{}`)
		l.raw(keys.Revisions().Key("canary/zzz"), `{"number":7}`)
		l.raw(keys.Revisions().Key("canary/zzz/0000000001"), `{"number":1}`)
		for n := range 12 {
			l.raw(keys.Revisions().Key(fmt.Sprintf("canary/zzz%d", n)), `{}`)
		}
	}, apart(exactly(keys.Revisions().Key("canary/zzz")), exactly(keys.Revisions().Key("canary/zzz/0000000001")), exactly(keys.Revisions().Key("canary/zzz11")))},
	{"a file of the canary is another text", func(l *lab) {
		for key, kv := range l.list(keys.UnitFiles().Prefix()) {
			if strings.Contains(string(kv.Value), "CHANGE") {
				l.raw(key, sleeping)
			}
		}
	}, nil},
}
