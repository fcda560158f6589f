//! What a screen reader knows: the windows' contents over AT-SPI, by name, with their places on the screen.

use std::time::{Duration, Instant};

use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{OwnedObjectPath, Value};

/// Longest wait for something to be said: several times what a loaded machine needs for a session under emulation.
const LIMIT: Duration = Duration::from_secs(150);

/// How often the windows are read again: not every program tells every change of its contents.
const PAUSE: Duration = Duration::from_millis(100);

type Object = (String, OwnedObjectPath);

/// A screen reader, without a voice.
pub struct Reader {
    bus: Connection,
}

/// Something in a window.
#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    /// By AT-SPI's number: not every program has a name for it.
    pub role: u32,
    /// What AT-SPI calls its states, as bits.
    states: u64,
    object: Object,
}

impl Node {
    /// Whether it can be used now.
    fn is_enabled(&self) -> bool {
        const ENABLED: u64 = 1 << 8;
        self.states & ENABLED != 0
    }

    /// Whether it is a check box, a push button, a radio button or a toggle button: can be pressed, and not only read.
    fn is_control(&self) -> bool {
        const CONTROLS: [u32; 4] = [7, 43, 44, 62];
        CONTROLS.contains(&self.role)
    }
}

impl Reader {
    /// A screen reader on the desktop whose programs talk at `session`; says there that it is at work.
    pub fn start(session: &str) -> Reader {
        let session = connection::Builder::address(session).unwrap().build().unwrap();
        let launcher = Proxy::new(&session, "org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus").unwrap();
        let address: String = launcher.call("GetAddress", &()).unwrap();
        let properties =
            Proxy::new(&session, "org.a11y.Bus", "/org/a11y/bus", "org.freedesktop.DBus.Properties").unwrap();
        for name in ["IsEnabled", "ScreenReaderEnabled"] {
            let _: () = properties.call("Set", &("org.a11y.Status", name, Value::from(true))).unwrap();
        }
        // A program that hangs must not hang the test.
        let bus =
            connection::Builder::address(address.as_str()).unwrap().method_timeout(Duration::from_secs(10));
        Reader { bus: bus.build().unwrap() }
    }

    /// Everything in all windows, in reading order. What goes away meanwhile is left out.
    pub fn nodes(&self) -> Vec<Node> {
        let root = ("org.a11y.atspi.Registry".to_owned(), "/org/a11y/atspi/accessible/root");
        let mut nodes = vec![];
        let mut open: Vec<Object> = vec![(root.0, OwnedObjectPath::try_from(root.1).unwrap())];
        while let Some(object) = open.pop() {
            let Ok(proxy) = self.proxy(&object, "org.a11y.atspi.Accessible") else { continue };
            if let (Ok(name), Ok(role)) = (proxy.get_property("Name"), proxy.call("GetRole", &())) {
                let states: Vec<u32> = proxy.call("GetState", &()).unwrap_or_default();
                let states = states.iter().rev().fold(0, |all, part| all << 32 | u64::from(*part));
                nodes.push(Node { name, role, states, object: object.clone() });
            }
            let children: Vec<Object> = proxy.call("GetChildren", &()).unwrap_or_default();
            open.extend(children.into_iter().rev());
        }
        nodes
    }

    fn proxy(&self, object: &Object, interface: &'static str) -> zbus::Result<Proxy<'static>> {
        // It is asked anew each time, and properties are not remembered.
        zbus::blocking::proxy::Builder::new(&self.bus)
            .destination(object.0.clone())?
            .path(object.1.clone())?
            .interface(interface)?
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
    }

    /// Waits until `text` is read out in any window.
    pub fn waits_for(&self, text: &str) -> Node {
        self.wait(text, |node| node.name.contains(text))
    }

    /// Waits until the control with this name can be used.
    pub fn control(&self, name: &str) -> Node {
        self.wait(name, |node| node.name == name && node.is_control() && node.is_enabled())
    }

    fn wait(&self, what: &str, is_it: impl Fn(&Node) -> bool) -> Node {
        let end = Instant::now() + LIMIT;
        loop {
            let nodes = self.nodes();
            if let Some(node) = nodes.iter().find(|node| is_it(node)) {
                return node.clone();
            }
            assert!(Instant::now() < end, "nobody says {what:?} within {LIMIT:?}, but:\n{}", told(&nodes));
            std::thread::sleep(PAUSE);
        }
    }

    /// Asserts that nothing like `text` is read out now.
    pub fn keeps_quiet(&self, text: &str) {
        let nodes = self.nodes();
        assert!(
            !nodes.iter().any(|node| node.name.contains(text)),
            "somebody says {text:?}:\n{}",
            told(&nodes)
        );
    }

    /// The middle of a control in its window.
    pub fn place(&self, node: &Node) -> (i32, i32) {
        const WINDOW: u32 = 1;
        let component = self.proxy(&node.object, "org.a11y.atspi.Component").unwrap();
        let (x, y, width, height): (i32, i32, i32, i32) = component.call("GetExtents", &(WINDOW,)).unwrap();
        (x + width / 2, y + height / 2)
    }
}

fn told(nodes: &[Node]) -> String {
    let lines: Vec<String> = nodes.iter().map(|node| format!("{}: {}", node.role, node.name)).collect();
    lines.join("\n")
}
