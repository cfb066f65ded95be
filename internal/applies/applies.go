// Package applies writes the record of who changed manifests, which is stored in the transaction that changes them.
package applies

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Op returns the operation that writes a record, of at most so many bytes. One that is larger is stored without what was before,
// and cannot be undone as a whole. random is 6 hexadecimal digits.
func Op(keys keyspace.Keys, record v1.Apply, most int, random string) (id string, op store.Op, err error) {
	row := keys.Applies()
	value, err := row.Encode(record)
	if len(value) > most {
		for i := range record.Objects {
			record.Objects[i].Before = ""
		}
		value, err = row.Encode(record)
	}
	id = keyspace.ApplyName(record.Time, random)
	return id, store.Op{Key: row.Key(id), Value: value, If: store.Absent()}, err
}
