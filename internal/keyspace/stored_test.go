package keyspace

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

var update = flag.Bool("update", false, "write testdata/stored.txt anew")

// TestStored: other versions of fleetd read what this one writes, and this one reads testdata/stored.txt: a value of each row
// with all of its fields. New fields are added with -update; existing ones stay.
func TestStored(t *testing.T) {
	k := New("")
	var all bytes.Buffer
	for _, row := range []func(*testing.T, *bytes.Buffer){
		stored(k.Units()), stored(k.Revisions()), stored(k.Applies()), stored(k.Machines()), stored(k.MachineConfigs()), stored(k.Overrides()), stored(k.Rollouts()), stored(k.SourceStatus()), stored(k.SourceWishes()), stored(k.Placements()),
		stored(k.Preparations()), stored(k.Unplaced()), stored(k.States()), stored(k.Status()), stored(k.Routes()), stored(k.Routers()), stored(k.Events()),
	} {
		row(t, &all)
	}
	const file = "testdata/stored.txt"
	if *update {
		require.NoError(t, os.WriteFile(file, all.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), all.String())
}

// stored writes a value of a row with all its fields, and requires a round trip.
func stored[T any](row Collection[T]) func(*testing.T, *bytes.Buffer) {
	return func(t *testing.T, out *bytes.Buffer) {
		var value T
		fill(reflect.ValueOf(&value).Elem(), "x")
		text, err := row.Encode(value)
		require.NoError(t, err, row.Prefix())
		again, err := row.Decode(text)
		require.NoError(t, err, "%s: %s", row.Prefix(), text)
		require.Equal(t, value, again, row.Prefix())
		fmt.Fprintln(out, row.Prefix())
		require.NoError(t, json.Indent(out, text, "", "  "))
		fmt.Fprintln(out)
	}
}

// fill gives each field a distinct value.
func fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, len(name)*1000, time.UTC)))
			return
		}
		if v.Type() == reflect.TypeFor[v1.PortRange]() {
			v.Set(reflect.ValueOf(v1.DefaultPortRange))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), v.Type().Field(i).Name)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, "keyOf"+name)
		fill(value, name)
		v.SetMapIndex(key, value)
	case reflect.String:
		if v.Type() == reflect.TypeFor[v1.Assignment]() {
			v.SetString("http=20017 admin=20018")
			return
		}
		v.SetString(strings.ToLower(name[:1]) + name[1:])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Float64:
		v.SetFloat(float64(len(name)) / 2)
	}
}
