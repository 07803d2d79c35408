use agw_tests::injection::POSTGRES as PARTS;
use agw_wire::Code;
use agw_wire::sql::{Cell, Mode};

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn no_value_in_any_place_is_anything_but_a_value() {
    let world = World::new(AD_HOC).await;
    let plugin = world.plugin("p");
    plugin.sql(Mode::Execute, "CREATE TABLE t (id int8 PRIMARY KEY, a text, b text)", &[]).await.unwrap();
    plugin.sql(Mode::Execute, "INSERT INTO t VALUES (0, 'keep', 'keep')", &[]).await.unwrap();
    let mut id = 0i64;
    for one in PARTS {
        for two in PARTS {
            for payload in
                [format!("{one}{two}"), format!("{two} {one}; SELECT pg_sleep(10)"), format!("{one}\n{two}")]
            {
                id += 1;
                let value = Cell::Text(&payload);
                let insert = "INSERT INTO t VALUES ($1, $2, $3) RETURNING a, b";
                let shown = plugin.query(insert, &[Cell::Int(id), value, value]).await.unwrap();
                let expected = format!("{value:?}");
                assert_eq!(shown.rows, [[expected.clone(), expected.clone()]], "{payload}");
                let find = "SELECT count(*) FROM t WHERE a = $1 AND b LIKE '%' AND id = $2";
                assert_eq!(plugin.value(find, &[value, Cell::Int(id)]).await, "Int(1)", "{payload}");
                let update = "UPDATE t SET b = $1 WHERE id = $2 AND a = $3";
                let changed =
                    plugin.sql(Mode::Execute, update, &[value, Cell::Int(id), value]).await.unwrap();
                assert_eq!(changed.affected, 1, "{payload}");
                let limit = plugin.query("SELECT 1 FROM t ORDER BY $1 LIMIT $2", &[value, value]).await;
                assert_eq!(limit.unwrap_err().code, Code::Invalid);
            }
        }
    }
    assert_eq!(plugin.value("SELECT count(*) FROM t", &[]).await, format!("Int({})", id + 1));
    assert_eq!(plugin.value("SELECT a || b FROM t WHERE id = 0", &[]).await, "Text(\"keepkeep\")");
}
