import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** Talks to a TLS echo of lines with Java's own TLS: PORT ROOT VERSION. */
public class TlsClient {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[1])) {
            roots.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        for (int round = 0; round < 3; round++) {
            try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", port)) {
                socket.setSoTimeout(20_000);
                socket.setEnabledProtocols(new String[] {arguments[2]});
                SSLParameters parameters = socket.getSSLParameters();
                // Java asks by itself only for names with a dot.
                parameters.setServerNames(java.util.List.of(new javax.net.ssl.SNIHostName("localhost")));
                parameters.setApplicationProtocols(new String[] {"echo/1"});
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                BufferedReader lines = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
                OutputStream output = socket.getOutputStream();
                StringBuilder words = new StringBuilder("session\n");
                for (int number = 0; number < 2000; number++) {
                    words.append("line ").append(number).append('\n');
                }
                output.write(words.append("bye\n").toString().getBytes(StandardCharsets.UTF_8));
                System.out.println(lines.readLine());
                for (int number = 0; number < 2000; number++) {
                    String line = lines.readLine();
                    if (!("line " + number).equals(line)) {
                        throw new AssertionError(line);
                    }
                }
                // The end of the stream is an error without close_notify.
                if (!"bye".equals(lines.readLine()) || lines.readLine() != null) {
                    throw new AssertionError("no end behind the last line");
                }
            }
        }
    }
}
