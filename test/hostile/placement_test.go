package hostile

import "fmt"

// circle is a circle of units, each of which has to be with the next one.
func circle(n int) hostile {
	why := fmt.Sprintf("MachineOf= goes in a circle: circle%d-", n)
	if n == 1 {
		why = "MachineOf: names the unit itself"
	}
	return hostile{fmt.Sprintf("MachineOf in a circle of %d", n), func(l *lab) {
		for i := range n {
			l.unit(fmt.Sprintf("circle%d-%d.service", n, i+1), sleeping+fmt.Sprintf("[X-Fleet]\nMachineOf=circle%d-%d.service\n", n, (i+1)%n+1))
		}
	}, one(fmt.Sprintf("/unplaced/circle%d-1.service", n), why)}
}

var placement = []hostile{
	circle(1), circle(2), circle(50),
	{"two apps that generate the same unit", func(l *lab) {
		l.apply(app("twin", "ports: [{port: 4000}]", "announce: {}"))
		l.apply(app("twin-discovery"))
	}, one("twin-discovery@1.service", "NameTaken", "rename one of the two apps")},
	{"two apps at once that generate the same unit, past the API", func(l *lab) {
		l.raw(keys.Apps().Key("pair-discovery"), app("pair-discovery", "replicas: 3"))
		l.raw(keys.Apps().Key("pair"), app("pair", "replicas: 3", "ports: [{port: 4001}]", "announce: {}"))
	}, one("/status/pair", "NameTaken", "pair-discovery@")},
	{"an app that conflicts with itself through another", func(l *lab) {
		l.apply(app("left", "placement: {conflicts: [\"right@*.service\"], machineOf: [\"middle@%i.service\"]}"))
		l.apply(app("middle", "placement: {machineOf: [\"right@%i.service\"]}"))
		l.apply(app("right"))
	}, one("/unplaced/left@1.service", "Conflicts=right@*.service")},
	{"conflicts with everything", func(l *lab) {
		l.apply(app("hermit", "placement: {conflicts: [\"*\"]}"))
	}, one("/unplaced/hermit@1.service ", "runs a unit that conflicts (Conflicts=*: ")},
	{"MachineOf a unit that does not exist", func(l *lab) {
		l.apply(app("lonely", "placement: {machineOf: [\"missing.service\"]}"))
	}, one("/unplaced/lonely@1.service", "missing.service")},
}
