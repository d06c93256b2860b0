package elf

import (
	"fmt"
	"strconv"
	"strings"
)

// Refusal says which restriction a file breaks.
type Refusal struct {
	Rule   string // record, signed, key, signature, algorithm, version, loader, name, rollback
	Reason string
}

func (e *Refusal) Error() string { return "rule " + e.Rule + ": " + e.Reason }

func breaks(rule, format string, args ...any) error {
	return &Refusal{rule, fmt.Sprintf(format, args...)}
}

// Verify checks that one of keys signed the file that the record was read from; a nil record is a file's that has none.
// sha1 takes RSA-SHA1 too. A refusal is a *Refusal.
func (r *Record) Verify(keys []*Key, sha1 bool) error {
	if r == nil || r.Algorithm == Unsigned {
		return breaks("signed", "it is not signed: sign it")
	}
	for _, k := range keys {
		if k.ID != r.Key {
			continue
		}
		if r.Algorithm == RSASHA1 && !sha1 {
			return breaks("algorithm", "signed with SHA-1, which can be forged: sign it again, or verify --allow-sha1")
		}
		if !k.verify(r) {
			return breaks("signature", "it was changed after key %s signed it, or the signature is forged", r.Key)
		}
		return nil
	}
	return breaks("key", "signed by key %s, which is not trusted: give its public key with --key, or put it into the trust store", r.Key)
}

// Requirement is what a file must meet to be run. What a record says counts only if it is signed.
type Requirement struct {
	Signed     bool
	Name       string // "": any
	Version    uint64
	Later      bool   // versions after Version will do, too
	Loader     Loader // the least strict; 0: any
	NoRollback bool   // no older version than ran before
}

// ParseRequirement reads a list such as signed,name=web,version=3+,loader=app,no-rollback. All of them imply signed.
func ParseRequirement(s string) (Requirement, error) {
	q := Requirement{Later: true}
	seen := map[string]bool{}
	for _, word := range strings.Split(s, ",") {
		key, value, given := strings.Cut(word, "=")
		if seen[key] {
			return q, fmt.Errorf("%s twice", key)
		}
		seen[key], q.Signed = true, true
		var err error
		switch {
		case key == "signed" && !given:
		case key == "no-rollback" && !given:
			q.NoRollback = true
		case key == "name" && ValidName(value):
			q.Name = value
		case key == "version" && given:
			value, q.Later = strings.CutSuffix(value, "+")
			if q.Version, err = strconv.ParseUint(value, 10, 64); err != nil {
				return q, fmt.Errorf("version %q: N for exactly that one, N+ for that one or a later one", value)
			}
		case key == "loader" && given:
			if q.Loader, err = ParseLoader(value); err != nil {
				return q, err
			}
		default:
			return q, fmt.Errorf("%q: signed, name=NAME, version=N, version=N+, loader=self|app|any or no-rollback", word)
		}
	}
	return q, nil
}

// Check checks that a file's record, which may be nil, meets the requirement with one of keys. No older version than floor is
// taken if NoRollback is set. A refusal is a *Refusal.
func (q *Requirement) Check(r *Record, keys []*Key, sha1 bool, floor uint64) error {
	if !q.Signed {
		return nil
	}
	if err := r.Verify(keys, sha1); err != nil {
		return err
	}
	if q.Name != "" && r.Name != q.Name {
		return breaks("name", "it is %s, want %s", r.Name, q.Name)
	}
	if r.Version < q.Version || r.Version > q.Version && !q.Later {
		return breaks("version", "version %d, want %s", r.Version, q.versions())
	}
	if q.Loader != 0 && r.Loader > q.Loader {
		return breaks("loader", "its libraries may be loaded by %s, want %s", r.Loader, q.Loader)
	}
	if q.NoRollback && r.Version < floor {
		return breaks("rollback", "version %d of %s is older than %d, which has run here", r.Version, r.Name, floor)
	}
	return nil
}

func (q *Requirement) versions() string {
	if q.Later {
		return fmt.Sprintf("%d or later", q.Version)
	}
	return strconv.FormatUint(q.Version, 10)
}

// Admit checks a library against the record of what links to it by that name. lib is nil if it has no record. A refusal is a *Refusal.
func (r *Record) Admit(name string, lib *Record, keys []*Key, sha1 bool) error {
	n := r.need(name)
	if n == nil && !r.SignedLibraries {
		return nil
	}
	q := Requirement{Signed: true, Name: name, Later: true}
	if n != nil {
		q.Version = n.Version
	}
	return q.Check(lib, keys, sha1, 0)
}
