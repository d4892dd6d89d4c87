// A client or a server of Java's JSSE that says what it knows of each connection. Package tlsstacks says how it is spoken to.
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.cert.Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import java.util.regex.*;
import javax.net.ssl.*;

public class Tls {
	static final byte[] ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".getBytes();
	static final Map<String, SSLContext> sessions = new HashMap<>();

	public static void main(String[] args) throws Exception {
		BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
		if (args[0].equals("server")) {
			List<String> addresses = new ArrayList<>();
			for (Map<String, String> end : ends(lines.readLine())) addresses.add("\"" + listen(end) + "\"");
			say("{\"listening\":" + addresses + "}");
			lines.readLine();
			System.exit(0);
		}
		say("{\"ready\":true}");
		for (String line; (line = lines.readLine()) != null; ) {
			List<Thread> threads = new ArrayList<>();
			for (Map<String, String> end : ends(line)) {
				SSLContext ctx = end.get("session").isEmpty() ? null : sessions.get(end.get("session"));
				if (ctx == null) ctx = context(end);
				if (!end.get("session").isEmpty()) sessions.put(end.get("session"), ctx);
				SSLContext c = ctx;
				threads.add(new Thread(() -> dial(end, c)));
			}
			for (Thread t : threads) t.start();
			for (Thread t : threads) t.join();
			say("{\"done\":true}");
		}
		System.exit(0);
	}

	static synchronized void say(String line) {
		System.out.println(line);
		System.out.flush();
	}

	// ends reads an array of flat objects of strings and booleans, which is all that there is.
	static List<Map<String, String>> ends(String line) {
		List<Map<String, String>> out = new ArrayList<>();
		Matcher object = Pattern.compile("\\{[^}]*\\}").matcher(line);
		while (object.find()) {
			Map<String, String> end = new HashMap<>();
			Matcher field = Pattern.compile("\"(\\w+)\":(?:\"([^\"]*)\"|(true|false))").matcher(object.group());
			while (field.find()) end.put(field.group(1), field.group(2) != null ? field.group(2) : field.group(3));
			out.add(end);
		}
		return out;
	}

	static List<X509Certificate> certificates(String file) throws Exception {
		List<X509Certificate> out = new ArrayList<>();
		try (InputStream in = Files.newInputStream(Path.of(file))) {
			for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in)) out.add((X509Certificate) c);
		}
		return out;
	}

	static SSLContext context(Map<String, String> end) throws Exception {
		KeyManager[] keys = null;
		if (!end.get("cert").isEmpty()) {
			String pem = Files.readString(Path.of(end.get("key"))).replaceAll("-----[A-Z ]*-----|\\s", "");
			PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
			KeyStore store = KeyStore.getInstance("PKCS12");
			store.load(null, null);
			store.setKeyEntry("own", key, new char[0], certificates(end.get("cert")).toArray(new Certificate[0]));
			KeyManagerFactory f = KeyManagerFactory.getInstance("PKIX");
			f.init(store, new char[0]);
			keys = f.getKeyManagers();
		}
		TrustManager[] trust = null;
		if (!end.get("ca").isEmpty()) {
			KeyStore store = KeyStore.getInstance("PKCS12");
			store.load(null, null);
			for (X509Certificate c : certificates(end.get("ca"))) store.setCertificateEntry(c.getSerialNumber().toString(), c);
			TrustManagerFactory f = TrustManagerFactory.getInstance("PKIX");
			f.init(store);
			trust = f.getTrustManagers();
		}
		SSLContext ctx = SSLContext.getInstance("TLS");
		ctx.init(keys, trust, null);
		return ctx;
	}

	static SSLParameters parameters(Map<String, String> end) {
		SSLParameters p = new SSLParameters();
		p.setProtocols(new String[] {"TLSv" + end.get("version")});
		if (!end.get("alpn").isEmpty()) p.setApplicationProtocols(end.get("alpn").split(","));
		return p;
	}

	static String listen(Map<String, String> end) throws Exception {
		SSLContext ctx = context(end);
		SSLServerSocket l = (SSLServerSocket) ctx.getServerSocketFactory().createServerSocket(0, 256, InetAddress.getByName("127.0.0.1"));
		SSLParameters p = parameters(end);
		p.setNeedClientAuth(!end.get("ca").isEmpty());
		l.setSSLParameters(p);
		Thread t = new Thread(() -> {
			while (true) {
				try {
					SSLSocket s = (SSLSocket) l.accept();
					new Thread(() -> answer(end, s)).start();
				} catch (IOException e) {
					return;
				}
			}
		});
		t.setDaemon(true);
		t.start();
		return "127.0.0.1:" + l.getLocalPort();
	}

	static void answer(Map<String, String> end, SSLSocket s) {
		try (s) {
			s.setSoTimeout(30000);
			s.startHandshake();
			s.getInputStream().read(new byte[4096]);
			s.getOutputStream().write(ANSWER);
			s.getOutputStream().flush();
			String asked = "";
			for (SNIServerName n : ((ExtendedSSLSession) s.getSession()).getRequestedServerNames()) asked = ((SNIHostName) n).getAsciiName();
			know(end, s, asked);
		} catch (Exception e) {
			refuse(end, s, e);
		}
	}

	static void dial(Map<String, String> end, SSLContext ctx) {
		String[] to = end.get("address").split(":");
		try (SSLSocket s = (SSLSocket) ctx.getSocketFactory().createSocket()) {
			s.setSoTimeout(30000);
			s.connect(new InetSocketAddress(to[0], Integer.parseInt(to[1])), 30000);
			SSLParameters p = parameters(end);
			if (!end.get("sni").isEmpty()) p.setServerNames(List.of(new SNIHostName(end.get("sni"))));
			s.setSSLParameters(p);
			try {
				s.startHandshake();
				s.getOutputStream().write(("GET / HTTP/1.1\r\nHost: " + end.get("sni") + "\r\nConnection: close\r\n\r\n").getBytes());
				s.getOutputStream().flush();
				s.getInputStream().readAllBytes();
				know(end, s, end.get("sni"));
			} catch (Exception e) {
				refuse(end, s, e);
			}
		} catch (Exception e) {
			say("{\"id\":\"" + end.get("id") + "\",\"error\":\"no connection\"}");
		}
	}

	static String tuple(SSLSocket s) {
		return "\"local\":\"" + s.getLocalAddress().getHostAddress() + ":" + s.getLocalPort() + "\",\"remote\":\"" + s.getInetAddress().getHostAddress() + ":" + s.getPort() + "\"";
	}

	static void know(Map<String, String> end, SSLSocket s, String sni) throws Exception {
		SSLSession session = s.getSession();
		String peer = "";
		try {
			peer = fingerprint((X509Certificate) session.getPeerCertificates()[0]);
		} catch (SSLPeerUnverifiedException e) {
			// it showed none
		}
		String own = end.get("cert").isEmpty() ? "" : fingerprint(certificates(end.get("cert")).get(0));
		say("{\"id\":\"" + end.get("id") + "\"," + tuple(s) + ",\"version\":\"" + session.getProtocol().replace("TLSv", "") + "\",\"sni\":\"" + sni
			+ "\",\"alpn\":\"" + s.getApplicationProtocol() + "\",\"own\":\"" + own + "\",\"peer\":\"" + peer + "\"}");
	}

	static void refuse(Map<String, String> end, SSLSocket s, Exception e) {
		say("{\"id\":\"" + end.get("id") + "\"," + tuple(s) + ",\"error\":\"" + String.valueOf(e.getMessage()).replaceAll("[\"\\\\\\n]", " ") + "\"}");
	}

	static String fingerprint(X509Certificate c) throws Exception {
		return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(c.getEncoded()));
	}
}
