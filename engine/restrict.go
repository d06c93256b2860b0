package engine

import (
	"bytes"
	"errors"

	"kxsh/elf"
)

// maxKeys is how many public keys a request may bring.
const maxKeys = 256

// restriction is what a request demands of its image: RunRequest.Require and Keys, read.
type restriction struct {
	elf.Requirement
	keys []*elf.Key
}

// restriction reads the demands of a request.
func (r *RunRequest) restriction() (q restriction, err error) {
	if r.Require == "" {
		return q, nil
	}
	if q.Requirement, err = elf.ParseRequirement(r.Require); err != nil {
		return q, errf(CodeInvalid, "--require %s: %v", r.Require, err)
	}
	if len(r.Keys) > maxKeys {
		return q, errf(CodeInvalid, "--require: %d keys, at most %d are taken", len(r.Keys), maxKeys)
	}
	for _, der := range r.Keys {
		k, err := elf.ParseKey(der)
		if err != nil {
			return q, errf(CodeInvalid, "--key: %v", err)
		}
		q.keys = append(q.keys, k)
	}
	return q, nil
}

// recordOf reads the record of an image or a library; a damaged one is refused whether or not anything is demanded of it.
func recordOf(path string, data []byte) (*elf.Record, error) {
	rec, err := elf.ReadRecord(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, errf(CodeRestricted, "%s: refused by %v", path, err)
	}
	return rec, nil
}

// permit checks an image, as it was read and will run, by its record against what is demanded of it.
func (e *Engine) permit(r *RunRequest, q *restriction, rec *elf.Record) error {
	floor := uint64(0)
	if q.NoRollback && rec != nil {
		var err error
		if floor, err = e.floors.of(rec); err != nil {
			return err
		}
	}
	return e.refusal(r, r.Image, q.Check(rec, q.keys, false, floor))
}

// demands is the restriction record that says what a pVM wants of its libraries: that of its image, or of its application.
func (e *Engine) demands(r *record) (*elf.Record, error) {
	if r.Placeholder == nil {
		im, err := e.imageOf(r)
		if err != nil {
			return nil, err
		}
		defer e.images.put(im)
		return im.record, nil
	}
	app, err := e.libs.get(r.Image)
	if err != nil {
		return nil, err
	}
	defer e.libs.put(app)
	if app.sha != r.ImageSHA {
		return nil, hasChanged(r.Image)
	}
	return app.record, nil
}

// permitLibrary checks a library, as it was read and will be linked, where its image, of that record, has to be signed: so must it be, under the name by
// which it is needed, and as new as the image's record wants it. One of kxsh's own is as good as kxsh itself, but has no version.
func (e *Engine) permitLibrary(r *RunRequest, q *restriction, rec *elf.Record, name, path string, lib *library) error {
	strict := *rec // permit has looked
	strict.SignedLibraries = lib.sha != e.builtIn.find(name).sha
	return e.refusal(r, path, strict.Admit(name, lib.record, q.keys, false))
}

// refusal tells of a file that a rule refuses.
func (e *Engine) refusal(r *RunRequest, path string, err error) error {
	var refused *elf.Refusal
	if errors.As(err, &refused) {
		e.events.add(Event{Type: "refused", Name: r.Name, Text: path + ": " + refused.Error()})
		return errf(CodeRestricted, "%s: refused by %v", path, refused)
	}
	return err
}

// Seal is what the restriction record of an image says, whose signature was checked before it ran.
type Seal struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Loader  string `json:"loader"`
	Key     string `json:"key"` // ID
}

func sealOf(r *elf.Record) *Seal {
	return &Seal{Name: r.Name, Version: r.Version, Loader: r.Loader.String(), Key: r.Key.String()}
}
