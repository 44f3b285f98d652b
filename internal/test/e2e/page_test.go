package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"goguerrillad/internal/httpd"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/statuspage"
)

// TestStatusPage loads the status page of a daemon, and those of a simulated daemon in
// several states, in Chromium, in the size of a phone and of a desktop, with the light and
// the dark scheme. It writes screenshots to build/pages.
func TestStatusPage(t *testing.T) {
	test.Need(t, "chromium")
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr, "GM_MAX_CLIENTS": "500"})
	d.Start(t)
	for range 5 {
		sendTraffic(t, d)
	}
	// The daemon takes a sample every 5 s.
	test.Await(t, d.Process(), time.Minute, "waiting for commits in the plot", func() error {
		_, page, err := test.Get(addr, "/")
		if err == nil && !regexp.MustCompile(`Last 10 minutes: p50 [0-9.]+ m?s \(highest`).MatchString(page) {
			err = errors.New("the page has no value of p50")
		}
		return err
	})
	pages := []struct{ name, url, text string }{{"daemon", "http://" + addr + "/?pause", "Accepting messages"}}
	for _, s := range statuspage.States(t) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			httpd.Protect(w.Header())
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, s.Page)
		}))
		defer server.Close()
		pages = append(pages, struct{ name, url, text string }{s.Name, server.URL + "/", s.Text})
	}

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath("chromium"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var errorTexts, requests []string
	must(chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			errorTexts = append(errorTexts, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			errorTexts = append(errorTexts, fmt.Sprint(e.Args))
		case *network.EventRequestWillBeSent:
			requests = append(requests, e.Request.URL)
		}
	}))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(err)
	root, err := test.ModuleRoot()
	must(err)
	screenshots := filepath.Join(root, "build/pages")
	must(os.MkdirAll(screenshots, 0o755))
	backgrounds := map[string]bool{}
	for _, device := range []struct {
		name          string
		width, height int64
	}{{"phone", 360, 800}, {"desktop", 1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			must(err)
			for _, page := range pages {
				must(chromedp.Do(ctx, chromedp.EmulateViewport(device.width, device.height), chromedp.Navigate(page.url)))
				text, err := chromedp.Run(ctx, chromedp.Text("body"))
				must(err)
				tooWide, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > innerWidth"))
				must(err)
				background, err := chromedp.Run(ctx, chromedp.Evaluate[string]("getComputedStyle(document.documentElement).backgroundColor + getComputedStyle(document.body).backgroundColor"))
				must(err)
				screenshot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
				must(err)
				backgrounds[background] = true
				must(os.WriteFile(filepath.Join(screenshots, page.name+"-"+device.name+"-"+scheme+".png"), screenshot, 0o644))
				if tooWide || !strings.Contains(text, page.text) || !strings.Contains(text, "of 500") {
					t.Errorf("%s, %s, %s: wider than the window: %v, text:\n%s", page.name, device.name, scheme, tooWide, text)
				}
			}
		}
	}
	if len(backgrounds) != 2 {
		t.Errorf("backgrounds %v, want one for each scheme", backgrounds)
	}
	for _, url := range requests {
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("the page loads %s from another server", url)
		}
	}
	if len(errorTexts) > 0 {
		t.Errorf("the browser reports %v", errorTexts)
	}
}
