package engine

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// fillIn gives every field below v a value of its own.
func fillIn(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			fillIn(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillIn(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(-*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic(v.Type().String())
	}
}

// A listing has every field that JSON has; a cut or a strange one is an error.
func TestListing(t *testing.T) {
	full := new(Snapshot)
	fillIn(reflect.ValueOf(full).Elem(), new(int))
	full.Processes = append(full.Processes, Process{Args: []string{}})
	empty := &Snapshot{Processes: []Process{}}
	for _, want := range []*Snapshot{full, empty} {
		got, err := decodeListing(encodeListing(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("as JSON\n got %s\nwant %s", a, b)
		}
	}
	b := encodeListing(full)
	for n := range b {
		if got, err := decodeListing(b[:n:n]); err == nil {
			t.Errorf("%d of %d bytes: %+v", n, len(b), got)
		}
	}
	if _, err := decodeListing(append(b, 0)); err == nil {
		t.Error("a byte too many was taken")
	}
	if _, err := decodeListing([]byte(`{"time":"2026-11-28T05:36:10Z"}`)); err == nil {
		t.Error("JSON was taken for a listing")
	}
}
