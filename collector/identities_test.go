package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// file returns what the file of identifications holds.
func (r *rig) identified() []byte {
	r.t.Helper()
	b, err := os.ReadFile(identitiesPath(r.dir))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

// TestIdentificationsOutliveTheCollector: SDKs say it once, so a restart must not
// forget it, nor what was taken back, nor what was applied already.
func TestIdentificationsOutliveTheCollector(t *testing.T) {
	r := newRig(t)
	said := identify(idA, `{"$set":{"sgx_mode":"HW"}}`)
	r.mustUpload(said, identify(idB, `{"$set":{"sgx_mode":"HW"}}`))
	r.mustUpload(identify(idB, `{"$clearAll":"-"}`))
	if b := r.identified(); bytes.Contains(b, []byte(idA)) || bytes.Contains(b, []byte(idA[:8])) {
		t.Errorf("the file holds the id: %s", b)
	}
	r.reopen()
	r.mustUpload(bare(idA, 0), bare(idB, 0))
	r.mustUpload(identify(idA, `{"$set":{"sgx_mode":"SW"}}`))
	r.reopen()
	r.mustUpload(said, bare(idA, 1)) // comes again, and has been overtaken
	r.wantModes(map[string]string{idA + "-0": "HW", idB + "-0": "", idA + "-1": "SW"})
}

// TestEveryKindOutlivesTheCollector: values come out of the file as they went in.
func TestEveryKindOutlivesTheCollector(t *testing.T) {
	r := newRig(t)
	p := everyKind(t)
	p.App = "shop"
	if _, err := r.folder.AddApp("shop", p, Keys{"shop-key", "shop-secret"}); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	send := func(events string) {
		t.Helper()
		if status, body := r.do("POST", "/2/httpapi", `{"api_key":"shop-key","events":[`+events+`]}`); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	send(fmt.Sprintf(`{"user_id":%q,"event_type":"$identify","user_properties":{"my_enum":"B","my_version":"1.2.3-rc.4","my_system":"linux/arm64",
		"my_id":"01234567-89ab-cdef-0123-456789abcdef","my_bytes":0,"my_count":9007199254740991,"my_seconds":3,"my_milliseconds":4,"my_bucket":"10-99",
		"my_timestamp":1795442093123,"my_flag":false}}`, idA))
	silent := fmt.Sprintf(`{"user_id":%q,"event_type":"two"}`, idA)
	send(silent)
	r.reopen()
	send(silent)
	lines := r.exportOf("shop-key", "shop-secret")
	if len(lines) != 2 {
		t.Fatalf("%d events are stored, want 2", len(lines))
	}
	before, _ := json.Marshal(lines[0]["user_properties"])
	after, _ := json.Marshal(lines[1]["user_properties"])
	if len(lines[0]["user_properties"].(map[string]any)) != 11 || string(before) != string(after) {
		t.Errorf("before a restart %s, after it %s", before, after)
	}

	// Of an app that is removed nothing is left.
	if err := r.c.Apps().Remove(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if b := r.identified(); len(b) != 0 {
		t.Errorf("of a removed app the file has %s", b)
	}
}

// TestAcknowledgedIdentificationsSurviveAKill opens what the disk has after each
// answer, and with every part of the line that would have come next.
func TestAcknowledgedIdentificationsSurviveAKill(t *testing.T) {
	r := newRig(t)
	apps := r.folder.Apps()
	var before []byte
	for i, mode := range []string{"HW", "SW", "HW"} {
		r.mustUpload(identify(idA, `{"$set":{"sgx_mode":"`+mode+`"}}`))
		now := r.identified()
		if !bytes.HasPrefix(now, before) || len(now) == len(before) {
			t.Fatal("the file has not grown at its end")
		}
		for cut := len(before); cut <= len(now); cut++ {
			path := filepath.Join(t.TempDir(), "identified")
			if err := os.WriteFile(path, now[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := openIdentities(path, r.folder.tombstones, apps)
			if err != nil {
				t.Fatalf("cut after %d of %d bytes: %v", cut, len(now), err)
			}
			want := []string{"", "HW", "SW", "HW"}[i]
			if cut == len(now) {
				want = mode
			}
			got := ""
			if at := k.byHash[k.hash("blindai", mustID(t, idA))]; at != nil {
				p := at.Value.(*identified).properties[0]
				got = p.field.Format(p.value)
			}
			if got != want {
				t.Fatalf("cut after %d of %d bytes: the mode is %q, want %q", cut, len(now), got, want)
			}
			k.close()
		}
		before = now
	}
}

// TestErasedSendersLeaveTheFile: at once, whatever the file has of them, and also
// if the collector was killed between the tombstone and the file.
func TestErasedSendersLeaveTheFile(t *testing.T) {
	r := newRig(t)
	hash := func(id string) []byte {
		ts := r.folder.tombstones.of("blindai", mustID(t, id))
		b, _ := json.Marshal(ts[:])
		return b
	}
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`), identify(idB, `{"$set":{"sgx_mode":"HW"}}`))
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"SW"}}`))
	if !bytes.Contains(r.identified(), hash(id)) {
		t.Fatal("the file does not have the sender")
	}
	r.mustForget(secret)
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`)) // late
	if b := r.identified(); bytes.Contains(b, hash(id)) || !bytes.Contains(b, hash(idB)) {
		t.Errorf("after an erasure the file has %s", b)
	}

	// What was taken back, and who was dropped from memory, is in the file still.
	for _, gone := range []plan.Secret{plan.NewSecret(), plan.NewSecret()} {
		id := gone.ID().String()
		r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`))
		r.mustUpload(identify(id, `{"$unset":{"sgx_mode":"-"}}`))
		r.reopen()
		r.mustForget(gone)
		if b := r.identified(); bytes.Contains(b, hash(id)) || !bytes.Contains(b, hash(idB)) {
			t.Errorf("after the erasure of who has taken all back the file has %s", b)
		}
	}

	if err := r.folder.tombstones.add(r.folder.tombstones.of("blindai", mustID(t, idB))); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if b := r.identified(); len(b) != 0 {
		t.Errorf("after a start with its tombstone the file has %s", b)
	}
}

// TestIdentificationThatCannotBeWritten is answered 503, and so is an erasure;
// both are done when the disk can be written again.
func TestIdentificationThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"SW"}}`))

	k := r.c.writer.identities
	k.path = filepath.Join(r.dir, "is-not-there", "identified")
	k.file.close()
	said := identify(idA, `{"$set":{"sgx_mode":"HW"}}`)
	for range 2 {
		if status, body := r.upload(said, bare(idA, 0)); status != 503 || !strings.Contains(body, `"code":503`) {
			t.Errorf("got %d %s, want 503", status, body)
		}
	}
	r.mustUpload(bare(idB, 0)) // who says nothing is not kept waiting
	if status, body := r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal())); status != 503 {
		t.Errorf("an erasure is answered %d %s, want 503", status, body)
	}
	k.path = identitiesPath(r.dir)
	r.mustUpload(said, bare(idA, 0))
	r.mustForget(secret)
	r.reopen()
	r.mustUpload(bare(idA, 1))
	r.wantModes(map[string]string{idB + "-0": "", idA + "-0": "HW", idA + "-1": "HW"})
}

// TestIdentitiesFileIsBounded: it is written anew before it has twice what is kept
// and a little.
func TestIdentitiesFileIsBounded(t *testing.T) {
	r := newRig(t)
	k, g := r.c.writer.identities, r.c.guard(r.folder.App("blindai"))
	mode := g.user["sgx_mode"].field
	for n := range 5000 {
		for sender := range byte(3) {
			k.apply("blindai", g, nil, []identification{{id: plan.ID{1, sender}, says: []operation{{property: property{mode, plan.Value{Set: true, Int: int64(n % 2)}}}}}})
		}
		if err := k.save(); err != nil {
			t.Fatal(err)
		}
		if k.entries > 2*3+1000 {
			t.Fatalf("the file has %d entries of 3 senders", k.entries)
		}
	}
	if n := len(r.identified()); n > 200<<10 {
		t.Errorf("the file has %d bytes", n)
	}
	r.reopen()
	if n := len(r.c.writer.identities.byHash); n != 3 {
		t.Errorf("%d senders are there after a restart, want 3", n)
	}
}

// TestDamagedIdentifications: the file is named, with the way back, and left as it
// is; a lost key leaves nothing in it of whoever could not be found again.
func TestDamagedIdentifications(t *testing.T) {
	r := newRig(t)
	r.mustUpload(identify(idA, `{"$set":{"sgx_mode":"HW"}}`))
	whole := r.identified()
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		path := filepath.Join(t.TempDir(), "identified")
		damaged = append(damaged, whole...)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openIdentities(path, r.folder.tombstones, r.folder.Apps())
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Fatalf("byte %d: got %v, want ErrDamaged with the file and the way back", i, err)
		}
		if b, _ := os.ReadFile(path); !bytes.Equal(b, damaged) {
			t.Fatalf("byte %d: the file was changed", i)
		}
	}
	r.close()
	if err := os.WriteFile(identitiesPath(r.dir), append([]byte("x"), whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := OpenFolder(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := duckdb.Open(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Config{Folder: folder, Store: s}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a start is answered %v, want ErrDamaged", err)
	}
	if err := errors.Join(s.Close(), folder.Close(), os.Remove(filepath.Join(r.dir, "key"))); err != nil {
		t.Fatal(err)
	}
	r.open()
	if b := r.identified(); len(b) != 0 {
		t.Errorf("without the key the file has %s", b)
	}
}
