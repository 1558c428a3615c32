package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/fxamacker/cbor/v2"
)

// What must not get out. Each is said to the product in the place of its name,
// and looked for in everything that leaves it.
var canaries = map[string]string{
	"host name":          "canaryhost7f3a",
	"user name":          "canaryuser7f3a",
	"home folder":        "canaryhome7f3a",
	"working folder":     "canarywork7f3a",
	"state folder":       "canarystate7f3a",
	"data folder":        "canarydata7f3a",
	"environment":        "canaryenv7f3a",
	"model's file name":  "canarymodel7f3a",
	"model's name":       "canaryname7f3a",
	"model's bytes":      "canarybytes7f3a",
	"input":              "canaryinput7f3a!", // 16 bytes: four numbers
	"client_info":        "canaryclient7f3a",
	"request header":     "canaryheader7f3a",
	"proxy header":       "canaryproxy7f3a",
	"address":            "203.0.113.77",
	"undeclared event":   "canaryevent7f3a",
	"undeclared field":   "canaryfield7f3a",
	"undeclared value":   "canaryvalue7f3a",
	"refused value":      "canaryrefused7f3a",
	"query of a request": "canaryquery7f3a",
}

// disguises returns the forms in which a text might leave: as it is, in other
// letters, encoded, or hashed.
func disguises(text string) map[string][]byte {
	wide := make([]byte, 0, 2*len(text))
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	forms := map[string][]byte{
		"as it is": []byte(text), "in capitals": []byte(strings.ToUpper(text)), "backwards": backwards(text),
		"in hex": []byte(hex.EncodeToString([]byte(text))), "in UTF-16": wide,
	}
	for shift := range 3 { // where the text begins within a group of three bytes
		// The first and the last characters depend on what is beside the text.
		s := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
		s = strings.TrimRight(s, "=")
		forms[fmt.Sprintf("in base64, shifted by %d", shift)] = []byte(s[(shift*8+5)/6 : len(s)-1])
	}
	of5, of1, of2 := md5.Sum([]byte(text)), sha1.Sum([]byte(text)), sha256.Sum256([]byte(text))
	for name, sum := range map[string][]byte{"MD5": of5[:], "SHA-1": of1[:], "SHA-256": of2[:]} {
		forms[name] = sum
		forms[name+" in hex"] = []byte(hex.EncodeToString(sum))
		forms[name+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(sum))
		forms[name+", the first half in hex"] = []byte(hex.EncodeToString(sum[:len(sum)/2]))
	}
	return forms
}

func backwards(text string) []byte {
	b := []byte(text)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return b
}

// wrapped returns a folder with scripts in place of the programs in the folder
// real. Each runs the program with prefix before it, in the same process.
func wrapped(t *testing.T, real, prefix string) string {
	t.Helper()
	real, err := filepath.Abs(real)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"blindai", "blindai-collector"} {
		script := fmt.Sprintf("#!/bin/sh\n%s '%s' \"$@\"\n", strings.ReplaceAll(prefix, "PROGRAM", name), filepath.Join(real, name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCanary runs the whole product where everything has a mark: the machine and
// its user, folders, environment, the model and what is computed with it, what
// clients and proxies say of themselves. No mark, and no hash of one, is in what
// the server sends, in the collector's files, in a log, or on a page.
func TestCanary(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Fatalf("%v: this test gives the machine another name; on Debian: apt-get install util-linux", err)
	}
	c := canaries
	root := t.TempDir()
	home, work := filepath.Join(root, c["home folder"]), filepath.Join(root, c["working folder"])
	for _, dir := range []string{home, work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bin := wrapped(t, programs(t), fmt.Sprintf(`cd '%s' && HOME='%s' USER=%s LOGNAME=%[3]s HOSTNAME=%s CANARY=%s XDG_CONFIG_HOME='%[2]s' `+
		`exec unshare --uts sh -c 'hostname %[4]s && exec "$0" "$@"'`, work, home, c["user name"], c["host name"], c["environment"]))

	data := filepath.Join(root, c["data folder"])
	col, err := startCollector(t.Context(), bin, data, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { col.stop() })
	r := newRelay(t, col.url)
	s, err := startServer(t.Context(), bin, filepath.Join(root, c["state folder"]), r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop() })

	for _, p := range []*process{s.process, col.process} {
		proc := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
		environ, err := os.ReadFile(proc + "/environ")
		cwd, _ := os.Readlink(proc + "/cwd")
		names, _ := os.Readlink(proc + "/ns/uts")
		ours, _ := os.Readlink("/proc/self/ns/uts")
		if err != nil || !bytes.Contains(environ, []byte(c["user name"])) || cwd != work || names == ours {
			t.Fatalf("%s does not run where everything has a mark: %v", p.name, err)
		}
	}

	// A model that says something of itself: a ModelProto may have its doc_string
	// (field 6) anywhere.
	model, err := os.ReadFile(digitsModel)
	if err != nil {
		t.Fatal(err)
	}
	model = append(append(model, 6<<3|2, byte(len(c["model's bytes"]))), c["model's bytes"]...)
	file := filepath.Join(root, c["model's file name"]+".onnx")
	if err := os.WriteFile(file, model, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := s.upload(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	images, err := readDigits(digitsDir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.classify(t.Context(), id, &digits{pixels: images.pixels[:pixelsPerDigit], labels: images.labels[:1]}, root); err != nil {
		t.Fatal(err)
	}

	// The existing client's requests, with all that they say.
	marked := func(h http.Header) {
		h.Set("User-Agent", c["request header"])
		h.Set("Cookie", "id="+c["request header"])
		h.Set("Referer", "http://"+c["request header"]+"/")
		h.Set("X-Forwarded-For", c["address"])
		h.Set("X-Real-Ip", c["address"])
		h.Set("Forwarded", "for="+c["address"]+";by="+c["proxy header"])
		h.Set("Via", "1.1 "+c["proxy header"])
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the test knows its server
	defer client.CloseIdleConnections()
	ask := func(port, path string, body map[string]any) []byte {
		t.Helper()
		info := c["client_info"]
		body["client_info"] = map[string]any{
			"uid": info, "platform_name": info, "platform_arch": info, "platform_version": info, "platform_release": info,
			"user_agent": info, "user_agent_version": info, "is_colab": false,
		}
		b, err := cbor.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("POST", "https://127.0.0.1:"+port+path+"?q="+c["query of a request"], bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		marked(req.Header)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s is answered %d, %q, %v", path, resp.StatusCode, answer, err)
		}
		return answer
	}
	ask(s.ports[2], "/upload", map[string]any{"model": model, "length": len(model), "model_name": c["model's name"], "optimize": true})
	ask(s.ports[1], "/run", map[string]any{"model_id": id, "model_hash": "", "inputs": []any{map[string]any{
		"info":       map[string]any{"fact": []int{1, pixelsPerDigit}, "datum_type": "F32", "node_name": nil},
		"bytes_data": []byte(strings.Repeat(c["input"], pixelsPerDigit/4)),
	}}})

	// What other senders say to the collector, and proxies before it.
	post := func(path, body string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequest("POST", col.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		marked(req.Header)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer
	}
	heard := map[string][]byte{} // all that comes out, by where
	sender := strings.Repeat("7e", 16)
	event := func(kind, version, more string) string {
		return fmt.Sprintf(`{"api_key":%q,"events":[{"user_id":%q,"event_type":%q,"time":%d,"app_version":%q,"ip":%q,"library":%q,%q:%q,"user_properties":{%[7]q:%[8]q},"event_properties":{%[7]q:%[8]q%[9]s}}]}`,
			apiKey, sender, kind, time.Now().UnixMilli(), version, c["address"], c["undeclared field"], c["undeclared value"], more)
	}
	for name, body := range map[string]string{
		"200 undeclared fields":   event("run_model", "1.2.3", ""),
		"400 an undeclared event": event(c["undeclared event"], "1.2.3", ""),
		"400 a refused version":   event("run_model", c["refused value"], ""),
		"400 a refused number":    event("run_model", "1.2.3", `,"uptime":"`+c["refused value"]+`"`),
		"400 an address":          event("run_model", c["address"], ""),
		"400 no JSON":             `{"` + c["refused value"],
	} {
		status, answer := post("/2/httpapi", body)
		if !strings.HasPrefix(name, fmt.Sprint(status)) {
			t.Errorf("%s is answered %d %s", name, status, answer)
		}
		heard["the answer to "+name] = answer
	}
	_, heard["the answer to a strange path"] = post("/"+c["query of a request"], "{}")
	_, heard["the answer to a strange secret"] = post("/v1/forget", `{"secret":"`+c["refused value"]+`"}`)

	const sent = 6 // started, two models, two runs, and that of the other sender
	col.wait(t, sent)
	for _, path := range []string{"/", "/?range=24h&by=app_version", "/console/live?app=blindai", "/privacy/blindai", "/figures/blindai", "/metrics", "/v1/plan/blindai", "/v1/key"} {
		_, body, err := col.get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		heard["page "+path] = body
	}
	heard["the export"] = fmt.Append(nil, col.exported(t))
	secret := (&session{server: s, state: filepath.Join(root, c["state folder"])}).secret(t)
	status, shown := post("/v1/show", `{"secret":"`+secret+`"}`)
	if own := idOf(t, secret); status != http.StatusOK || !bytes.Contains(shown, []byte(own)) {
		t.Errorf("the session is not shown: %d %s", status, shown)
	}
	heard["what is shown by the secret"] = shown
	ends(t, s.process)
	ends(t, col.process)
	connections, requests := r.seen()
	if connections == 0 || len(requests) == 0 {
		t.Fatal("the server has sent nothing, so nothing is looked at")
	}
	for i, req := range requests {
		heard[fmt.Sprintf("request %d of the server", i)] = append(fmt.Appendf(nil, "%s %s %v\n", req.path, req.host, req.header), req.body...)
	}
	heard["the server's log"], heard["the collector's log"] = s.log.Bytes(), col.log.Bytes()
	heard["what the server prints"] = []byte(s.printed())
	// Whoever starts the collector is told once which folder it uses.
	heard["what the collector prints"] = []byte(strings.Replace(col.printed(), data, "", 1))
	files := 0
	err = filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
			heard["file "+d.Name()], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || files < 5 {
		t.Fatalf("only %d files of the collector, %v", files, err)
	}

	find := func(text string) (places []string) {
		for way, form := range disguises(text) {
			for where, b := range heard {
				if bytes.Contains(b, form) || way == "as it is" && bytes.Contains(bytes.ToLower(b), form) {
					places = append(places, where+", "+way)
				}
			}
		}
		return places
	}
	for name, mark := range c {
		if places := find(mark); len(places) > 0 {
			t.Errorf("the %s comes out: %v", name, places)
		}
	}
	// What the original made its user ids of.
	if places := find(c["host name"] + "-" + c["user name"]); len(places) > 0 {
		t.Errorf("host and user come out: %v", places)
	}
	// The models themselves and what was computed with: not the marks in them, but all
	// of them, and their hashes, which the original sent.
	plain, err := os.ReadFile(digitsModel)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"model": plain, "marked model": model, "input": []byte(strings.Repeat(c["input"], pixelsPerDigit/4))} {
		if places := find(string(b)); len(places) > 0 {
			t.Errorf("the %s comes out: %v", name, places)
		}
	}
	// Nobody's address: of all that came from this machine only what listens here has one.
	for name, p := range map[string]*process{"server": s.process, "collector": col.process} {
		for _, address := range regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindAllString(p.log.String(), -1) {
			if !strings.Contains(p.printed(), address) {
				t.Errorf("the log of the %s has the address of somebody: %s", name, address)
			}
		}
	}
	// The same search finds what is there, and what would be.
	if places := find(idOf(t, secret)); len(places) < 3 {
		t.Errorf("the session's id is found in %v only", places)
	}
	for way, form := range disguises(c["host name"]) {
		heard["a plant"] = append(append([]byte("before "), form...), " behind"...)
		if places := find(c["host name"]); len(places) == 0 {
			t.Errorf("a mark %s is not found", way)
		}
	}
}
