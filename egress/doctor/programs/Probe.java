import java.net.URI;
import java.net.URLConnection;

public class Probe {
    public static void main(String[] arguments) throws Exception {
        URLConnection connection = URI.create(arguments[0]).toURL().openConnection();
        connection.setConnectTimeout(8000);
        connection.setReadTimeout(8000);
        System.out.write(connection.getInputStream().readAllBytes());
        System.out.flush();
    }
}
